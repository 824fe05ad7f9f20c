//! `enable-nss` and `disable-nss`: add hither to nsswitch.conf and remove it, with a backup beside
//! the file.
//!
//! The backup is made before the first change and never overwritten. It is removed when the file
//! without hither is the same as the backup.

use super::nsswitch::{self, LineError};
use super::{Context, EditOptions, End, ask, doctor, files};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The file that glibc reads.
pub(super) const FILE: &str = "/etc/nsswitch.conf";
/// The end of the backup's name.
const BACKUP: &str = ".hither-backup";

/// The outcome of an edit.
struct Edited {
    changed: bool,
    /// The line that the change would give, if it was not made: in a dry run, or refused.
    becomes: Option<String>,
    /// The path of the backup, if there is one.
    backup: Option<PathBuf>,
    /// The line as it is now.
    hosts: String,
    /// How adding hither changes which sources are asked.
    effect: Option<String>,
}

pub(super) fn enable(
    context: &Context,
    out: &mut impl Write,
    file: &Path,
    options: EditOptions,
) -> Result<End, End> {
    let refused = if options.force { None } else { refusal(context, file, options) };
    let acts = !options.dry_run && refused.is_none();
    let mut announce = |path: &Path, old: &[u8], new: &[u8]| -> Result<bool, End> {
        if !context.json {
            let shown = |text: &[u8]| nsswitch::shown(text).unwrap_or_default();
            writeln!(out, "{} has hosts: {}", file.display(), shown(old))?;
            writeln!(out, "and gets hosts: {}", shown(new))?;
            writeln!(out, "the backup of the present file is {}", files::beside(path, BACKUP).display())?;
            if let Some(effect) = nsswitch::effect(old) {
                writeln!(out, "{effect}")?;
            }
            out.flush()?;
        }
        Ok(acts)
    };
    let edited = edit(file, nsswitch::enabled, |path, old, new| {
        if !announce(path, old, new)? {
            return Ok(false);
        }
        files::try_to_write(path).map_err(End::Failed)?;
        let backup = files::beside(path, BACKUP);
        let made = match files::create_like(path, &backup, old) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            Err(error) => {
                return Err(End::Failed(format!(
                    "the backup '{}' cannot be created: {error}; nothing was changed",
                    backup.display()
                )));
            }
        };
        files::replace(path, old, new).map_err(|error| {
            if made {
                let _ = std::fs::remove_file(&backup);
            }
            not_replaced(path, &error)
        })?;
        Ok(true)
    })?;
    // Without a change there is nothing to refuse.
    let refused = refused.filter(|_| edited.becomes.is_some());
    report(context, out, file, &edited, Done { dry_run: options.dry_run, refused })
}

/// Why the file should not be changed, and how to go on.
fn refusal(context: &Context, file: &Path, options: EditOptions) -> Option<String> {
    let real = std::fs::canonicalize(file).ok()?;
    if files::is_of_nixos(&real) {
        return Some(
            "nsswitch.conf comes from NixOS: set system.nssModules and system.nssDatabases.hosts in its configuration"
                .to_owned(),
        );
    }
    let has_header = files::text(&real).ok().flatten().is_some_and(|text| {
        text.lines()
            .take_while(|line| line.starts_with('#') || line.is_empty())
            .any(|line| line.contains("by authselect"))
    });
    if real.starts_with("/etc/authselect") || has_header {
        return Some(
            "nsswitch.conf is written by authselect, which would undo the change: authselect create-profile hither -b PROFILE, name hither in the line of hosts in /etc/authselect/custom/hither/nsswitch.conf, authselect select custom/hither; or --force"
                .to_owned(),
        );
    }
    let start = "systemctl enable --now hitherd.socket hitherd.service hither-sorter.service";
    let live = || context.open().is_ok_and(|table| table.reader().live());
    // A dry run does not start the daemon.
    if live() || options.dry_run && doctor::would_start() {
        return None;
    }
    match ask::daemon_status(context) {
        Err(why) => Some(format!(
            "hitherd does not run, so that the module would find no names: {why}. Start it first: {start}; or --force"
        )),
        // The request has started it.
        Ok(_) if live() => None,
        Ok(_) => Some(
            "hitherd serves without a table, which the module reads; see 'hitherctl doctor'; or --force"
                .to_owned(),
        ),
    }
}

pub(super) fn disable(context: &Context, out: &mut impl Write, file: &Path) -> Result<End, End> {
    let edited = edit(file, nsswitch::disabled, |path, old, new| {
        files::try_to_write(path).map_err(End::Failed)?;
        files::replace(path, old, new).map_err(|error| not_replaced(path, &error))?;
        let backup = files::beside(path, BACKUP);
        if files::read(&backup).is_ok_and(|before| before == new) {
            std::fs::remove_file(&backup).map_err(|error| {
                End::Failed(format!(
                    "'{}' was changed, but its backup cannot be removed: {error}",
                    path.display()
                ))
            })?;
        }
        Ok(true)
    })?;
    report(context, out, file, &edited, Done { dry_run: false, refused: None })
}

fn not_replaced(path: &Path, error: &std::io::Error) -> End {
    End::Failed(format!("'{}' cannot be replaced: {error}; nothing was changed", path.display()))
}

/// Changes the file by `apply`, which gets its path, its old and its new text, and says whether it
/// was changed.
fn edit(
    file: &Path,
    change: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, LineError>,
    mut apply: impl FnMut(&Path, &[u8], &[u8]) -> Result<bool, End>,
) -> Result<Edited, End> {
    let unreadable =
        |error: std::io::Error| End::Failed(format!("'{}' cannot be read: {error}", file.display()));
    let unusable =
        |error: LineError| End::Failed(format!("'{}': {error}; nothing was changed", file.display()));
    // The file is replaced, not a link to it.
    let path = std::fs::canonicalize(file).map_err(unreadable)?;
    let old = files::read(&path).map_err(unreadable)?;
    let new = change(&old).map_err(unusable)?;
    let changed = match &new {
        Some(new) => apply(&path, &old, new)?,
        None => false,
    };
    let backup = Some(files::beside(&path, BACKUP)).filter(|backup| backup.exists());
    let line = |text: &[u8]| nsswitch::shown(text).map_err(unusable);
    let hosts = line(new.as_ref().filter(|_| changed).unwrap_or(&old))?;
    let becomes = new.as_ref().filter(|_| !changed).map(|new| line(new)).transpose()?;
    Ok(Edited { changed, becomes, backup, hosts, effect: nsswitch::effect(&old) })
}

/// Whether an edit was made, and if it was refused, why.
struct Done {
    dry_run: bool,
    refused: Option<String>,
}

fn report(
    context: &Context,
    out: &mut impl Write,
    file: &Path,
    edited: &Edited,
    done: Done,
) -> Result<End, End> {
    if context.json {
        let object = serde_json::json!({
            "file": file, "changed": edited.changed, "hosts": edited.hosts, "backup": edited.backup,
            "effect": edited.effect, "becomes": edited.becomes, "refused": done.refused,
            "done": !done.dry_run && edited.becomes.is_none(),
        });
        writeln!(out, "{object}")?;
    }
    if let Some(why) = done.refused {
        return Err(End::Failed(why));
    }
    if context.json || edited.becomes.is_some() {
        return Ok(End::Done);
    }
    let was = if edited.changed { "now has" } else { "already has" };
    writeln!(out, "{} {was} hosts: {}", file.display(), edited.hosts)?;
    if let Some(backup) = &edited.backup {
        writeln!(out, "backup of the file without hither: {}", backup.display())?;
    }
    Ok(End::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    /// A directory that is removed with the test.
    struct TestDir(PathBuf);

    impl TestDir {
        fn new(name: &str) -> TestDir {
            let dir = std::env::temp_dir().join(format!("hither-nss-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&dir).expect("a directory");
            TestDir(dir)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, text).expect("written");
            path
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<String> = std::fs::read_dir(&self.0)
                .expect("a directory")
                .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for TestDir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    type Verb = fn(&Context, &mut Vec<u8>, &Path) -> Result<End, End>;

    fn enable(context: &Context, out: &mut Vec<u8>, file: &Path) -> Result<End, End> {
        super::enable(context, out, file, EditOptions { dry_run: false, force: true })
    }

    /// The output of the verb, or its error.
    fn run(verb: Verb, file: &Path) -> Result<String, String> {
        let context = Context { dir: PathBuf::new(), json: false };
        let mut out = Vec::new();
        match verb(&context, &mut out, file) {
            Ok(End::Done) => Ok(String::from_utf8(out).expect("text")),
            Err(End::Failed(message)) => Err(message),
            _ => panic!("another end"),
        }
    }

    const BEFORE: &str = "passwd: files\nhosts:          files dns\n";

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).expect("a file")
    }

    #[test]
    fn the_file_keeps_its_permissions_and_comes_back_as_it_was() {
        let place = TestDir::new("back");
        let file = place.write("nsswitch.conf", BEFORE);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o604)).expect("ours");
        let label = b"kept".as_slice();
        let labels = xattr::set(&file, "user.hither", label).is_ok();
        let said = run(enable, &file).expect("enabled");
        assert!(said.contains("now has hosts: files hither [NOTFOUND=return] dns"), "{said}");
        assert_eq!(place.names(), ["nsswitch.conf", "nsswitch.conf.hither-backup"]);
        assert_eq!(text(&place.0.join("nsswitch.conf.hither-backup")), BEFORE);
        assert_eq!(std::fs::metadata(&file).expect("there").mode() & 0o7777, 0o604);
        if labels {
            assert_eq!(xattr::get(&file, "user.hither").expect("readable").as_deref(), Some(label));
        }
        let inode = std::fs::metadata(&file).expect("there").ino();
        assert!(run(enable, &file).expect("enabled").contains("already has"));
        assert_eq!(std::fs::metadata(&file).expect("there").ino(), inode, "not written again");
        run(disable, &file).expect("disabled");
        assert_eq!(text(&file), BEFORE);
        assert_eq!(place.names(), ["nsswitch.conf"], "nothing is left");
    }

    #[test]
    fn a_backup_is_never_overwritten_and_stays_if_it_differs() {
        let place = TestDir::new("backup");
        let file = place.write("nsswitch.conf", BEFORE);
        run(enable, &file).expect("enabled");
        let edited = text(&file).replace("passwd: files", "passwd: files systemd");
        place.write("nsswitch.conf", &edited);
        run(disable, &file).expect("disabled");
        assert_eq!(text(&file), BEFORE.replace("passwd: files", "passwd: files systemd"));
        run(enable, &file).expect("enabled");
        assert_eq!(text(&place.0.join("nsswitch.conf.hither-backup")), BEFORE);
    }

    #[test]
    fn the_change_is_announced_and_refused_where_it_would_do_harm() {
        let place = TestDir::new("beforehand");
        let file = place.write("nsswitch.conf", BEFORE);
        let enable = |dry_run, force| {
            let context = Context { dir: place.0.join("run"), json: false };
            let mut out = Vec::new();
            let end = super::enable(&context, &mut out, &file, EditOptions { dry_run, force });
            let why = if let Err(End::Failed(why)) = end { why } else { String::new() };
            (String::from_utf8(out).expect("text"), why)
        };
        let (said, why) = enable(false, false);
        assert!(
            said.contains("takes away: dns is no longer asked") && said.contains(".hither-backup"),
            "{said}"
        );
        assert!(
            why.contains("hitherd does not run")
                && why.contains("systemctl enable --now")
                && why.contains("--force"),
            "{why}"
        );
        let (said, why) = enable(true, true);
        assert!(
            said.contains("and gets hosts: files hither [NOTFOUND=return] dns") && why.is_empty(),
            "{said} {why}"
        );
        assert_eq!((text(&file).as_str(), place.names().len()), (BEFORE, 1), "nothing was done");
        let text = format!("# Generated by authselect on a day\n# Do not modify\n\n{BEFORE}");
        place.write("nsswitch.conf", &text);
        assert!(enable(false, false).1.contains("authselect select custom/hither"));
    }

    #[test]
    fn a_link_stays_a_link() {
        let place = TestDir::new("link");
        place.write("real", BEFORE);
        let link = place.0.join("nsswitch.conf");
        symlink("real", &link).expect("a link");
        run(enable, &link).expect("enabled");
        assert_eq!(std::fs::read_link(&link).expect("still a link"), Path::new("real"));
        assert!(text(&link).contains("hither"));
    }

    #[test]
    fn a_file_that_cannot_be_edited_is_left_alone_with_the_reason() {
        let place = TestDir::new("odd");
        let file = place.write("nsswitch.conf", "passwd: files\n");
        let said = run(enable, &file).expect_err("no line");
        assert!(said.contains("expected one such as") && said.contains("nothing was changed"), "{said}");
        assert_eq!(place.names(), ["nsswitch.conf"]);
        assert!(run(enable, &place.0).expect_err("a directory").contains("Is a directory"));
        assert!(run(disable, &place.0.join("missing")).expect_err("none").contains("cannot be read"));
        let file = place.write("nsswitch.conf", &"hosts: files dns\n".repeat(100_000));
        assert!(run(enable, &file).expect_err("too large").contains("larger than 1 MiB"));
    }

    #[test]
    fn a_file_that_another_program_changes_meanwhile_is_not_replaced() {
        let place = TestDir::new("race");
        let file = place.write("nsswitch.conf", BEFORE);
        let failed = files::replace(&file, b"something older", b"new").expect_err("it has changed");
        assert!(failed.to_string().contains("another program"), "{failed}");
        assert_eq!((text(&file).as_str(), place.names().len()), (BEFORE, 1));
    }
}
