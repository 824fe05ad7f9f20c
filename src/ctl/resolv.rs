//! `enable-resolv` and `disable-resolv`: change resolv.conf, and the programs that write it, so
//! that names are looked up at hitherd, and undo that.
//!
//! The changes are doctor's plan. They are printed before they are made, with what they take away,
//! and refused where they would leave programs without a name server. Every change has a file name
//! or a mark by which it is found again, so that no list of changes can be lost.

mod apply;
mod text;
mod undo;

use super::doctor::{self, Outlook, Plan, plan};
use super::{Context, EditOptions, End, ask, files};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The earlier resolv.conf, a file or a link.
const BACKUP: &str = "/etc/resolv.conf.hither-backup";

pub(super) fn enable(
    context: &Context,
    out: &mut impl Write,
    root: &Path,
    options: EditOptions,
) -> Result<End, End> {
    let host = Host::at_root(root)?;
    let outlook = doctor::outlook(context, root);
    let refused = host.refusal(context, &outlook, options);
    let plan = outlook.plan.ok_or_else(|| {
        End::Failed(
            "hitherd listens at no address with port 53, and resolv.conf cannot name another port".to_owned(),
        )
    })?;
    // A resolv.conf that cannot be read is not changed, not even with --force.
    let is_unknown = outlook.unreadable.is_some();
    let refused = refused.filter(|_| is_unknown || !options.force && !plan.steps.is_empty());
    if !context.json && !is_unknown {
        print_plan(out, &plan)?;
        // The plan is printed before it is carried out.
        out.flush()?;
    }
    let acts = !options.dry_run && refused.is_none();
    if acts {
        host.check_writable(&plan).map_err(End::Failed)?;
        for step in &plan.steps {
            host.apply(step).map_err(|why| {
                let back = "'hitherctl disable-resolv' undoes the steps before it";
                End::Failed(format!("{step}: {why}; {back}"))
            })?;
        }
    }
    if context.json {
        let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
        let object = serde_json::json!({
            "steps": steps, "takes_away": plan.takes_away, "refused": refused, "done": acts,
        });
        writeln!(out, "{object}")?;
    }
    refused.map_or(Ok(End::Done), |why| Err(End::Failed(why)))
}

fn print_plan(out: &mut impl Write, plan: &Plan) -> Result<(), End> {
    if plan.steps.is_empty() {
        writeln!(
            out,
            "resolv.conf leads to hitherd, and the program that writes it keeps it so: nothing to do"
        )?;
    }
    for step in &plan.steps {
        writeln!(out, "{step}")?;
    }
    for what in &plan.takes_away {
        writeln!(out, "takes away: {what}")?;
    }
    Ok(())
}

pub(super) fn disable(
    context: &Context,
    out: &mut impl Write,
    root: &Path,
    options: EditOptions,
) -> Result<End, End> {
    let host = Host::at_root(root)?;
    let mut done = Vec::new();
    let outlook = doctor::outlook(context, root);
    let result = host.undo(&outlook, &mut done, options.dry_run);
    if context.json {
        writeln!(
            out,
            "{}",
            serde_json::json!({ "steps": done, "done": !options.dry_run && result.is_ok() })
        )?;
    } else {
        if done.is_empty() && result.is_ok() {
            writeln!(out, "there is no change of hitherctl enable-resolv to undo")?;
        }
        for step in &done {
            writeln!(out, "{step}")?;
        }
    }
    result.map(|()| End::Done).map_err(End::Failed)
}

/// The host whose files are below a root directory.
struct Host<'r> {
    root: &'r Path,
}

impl Host<'_> {
    fn at_root(root: &Path) -> Result<Host<'_>, End> {
        match root.is_dir() {
            true => Ok(Host { root }),
            false => Err(End::Failed(format!("'{}' is no directory", root.display()))),
        }
    }

    /// The place of an absolute path of that host.
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Why resolv.conf should not be changed, and how to go on.
    fn refusal(&self, context: &Context, outlook: &Outlook, options: EditOptions) -> Option<String> {
        let start =
            "start it first: systemctl enable --now hitherd.socket hitherd.service hither-sorter.service";
        if let Some(error) = &outlook.unreadable {
            return Some(format!("'{}' cannot be read: {error}; nothing was changed", plan::RESOLV));
        }
        let real = std::fs::canonicalize(self.at(plan::RESOLV)).unwrap_or_default();
        if files::is_of_nixos(&real) {
            return Some("resolv.conf comes from NixOS: set networking.nameservers = [ \"127.0.0.1\" ] in its configuration".to_owned());
        }
        if !outlook.is_served {
            return Some(format!(
                "hitherd does not listen at the address that resolv.conf would name; {start}; or --force"
            ));
        }
        // The daemon of another host cannot be asked, and a dry run does not start one.
        if self.root == Path::new("/")
            && !(options.dry_run && outlook.would_start)
            && let Err(why) = ask::daemon_status(context)
        {
            return Some(format!(
                "hitherd does not answer: {why}; {start}, see 'hitherctl doctor'; or --force"
            ));
        }
        None
    }
}
