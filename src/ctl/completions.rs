//! `completions`: the scripts by which shells complete the command lines of the four programs.

use super::End;
use clap::ValueEnum;
use std::io::Write;

/// A shell.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// One of hither's programs.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Program {
    Hitherctl,
    Hitherd,
    HitherSorter,
    HitherSite,
}

pub(super) fn completions(out: &mut impl Write, shell: Shell, program: Program) -> Result<End, End> {
    let (name, mut command) = match program {
        Program::Hitherctl => ("hitherctl", super::command()),
        Program::Hitherd => ("hitherd", crate::daemon::command()),
        Program::HitherSorter => ("hither-sorter", crate::sorter::command()),
        Program::HitherSite => ("hither-site", crate::site::command()),
    };
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    // Into memory first: the generator panics at a closed pipe.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut text);
    out.write_all(&text)?;
    Ok(End::Done)
}
