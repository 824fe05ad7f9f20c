//! `enable-nss` and `disable-nss`: hither in nsswitch.conf, and the file as it was beside it.
//!
//! The backup is made before the first change and never written again. It goes when taking hither out gives that very file back, so
//! that nothing is left of both.

use super::nsswitch::{self, Odd};
use super::resolv::How;
use super::{Context, End, ask, doctor, files};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Where glibc reads it.
pub(super) const FILE: &str = "/etc/nsswitch.conf";
/// Behind the file's name.
const BACKUP: &str = ".hither-backup";

/// What was done.
struct Done {
    changed: bool,
    /// What the line would be, had it not only been to be said, or been refused.
    becomes: Option<String>,
    /// Where the file as it was is; `None` if there is no such.
    backup: Option<PathBuf>,
    /// The line as it is now.
    hosts: String,
    /// What that changes for the sources behind hither.
    effect: Option<String>,
}

pub(super) fn enable(context: &Context, out: &mut impl Write, file: &Path, how: How) -> Result<End, End> {
    let refused = if how.force { None } else { refusal(context, file, how) };
    let acts = !how.dry_run && refused.is_none();
    let mut beforehand = |path: &Path, old: &[u8], new: &[u8]| -> Result<bool, End> {
        if !context.json {
            let shown = |text: &[u8]| nsswitch::shown(text).unwrap_or_default();
            writeln!(out, "{} has hosts: {}", file.display(), shown(old))?;
            writeln!(out, "and gets hosts: {}", shown(new))?;
            writeln!(out, "the file as it is stays beside it: {}", files::beside(path, BACKUP).display())?;
            if let Some(what) = effect(old) {
                writeln!(out, "{what}")?;
            }
            out.flush()?;
        }
        Ok(acts)
    };
    let done = edit(file, nsswitch::enabled, |path, old, new| {
        if !beforehand(path, old, new)? {
            return Ok(false);
        }
        files::try_to_write(path).map_err(End::Failed)?;
        let backup = files::beside(path, BACKUP);
        let made = match files::create_like(path, &backup, old) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            Err(error) => {
                return Err(End::Failed(format!(
                    "the backup '{}' cannot be made: {error}; nothing was changed",
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
    // Where nothing is to be done there is nothing to be refused.
    let refused = refused.filter(|_| done.becomes.is_some());
    tell(context, out, (file, how.dry_run), &done, refused)
}

/// What hither in front changes for others.
pub(super) fn effect(text: &[u8]) -> Option<String> {
    let behind = nsswitch::behind(text);
    match (behind.cut.as_slice(), behind.kept.as_slice()) {
        ([], []) => None,
        ([], kept) => Some(format!(
            "without [NOTFOUND=return], so that {} is asked as before for what the DNS denies",
            kept.join(", ")
        )),
        (cut, _) => {
            Some(format!("takes away: {} is not asked any more for what hither denies", cut.join(", ")))
        }
    }
}

/// Why the file is better left as it is, and how to go on.
fn refusal(context: &Context, file: &Path, how: How) -> Option<String> {
    let real = std::fs::canonicalize(file).ok()?;
    if files::is_of_nixos(&real) {
        return Some(
            "nsswitch.conf comes from NixOS: set system.nssModules and system.nssDatabases.hosts in its configuration"
                .to_owned(),
        );
    }
    let says_so = files::text(&real).ok().flatten().is_some_and(|text| {
        text.lines()
            .take_while(|line| line.starts_with('#') || line.is_empty())
            .any(|line| line.contains("by authselect"))
    });
    if real.starts_with("/etc/authselect") || says_so {
        return Some(
            "nsswitch.conf is written by authselect, which would undo it: authselect create-profile hither -b PROFILE, name hither in the line of hosts in /etc/authselect/custom/hither/nsswitch.conf, authselect select custom/hither; or --force"
                .to_owned(),
        );
    }
    let start = "systemctl enable --now hitherd.socket hitherd.service hither-sorter.service";
    let live = || context.open().is_ok_and(|table| table.reader().live());
    // What is only to be said starts nothing.
    if live() || how.dry_run && doctor::would_start() {
        return None;
    }
    match ask::answering(context) {
        Err(why) => Some(format!(
            "hitherd does not run, and the module would find nothing: {why}. Start it first: {start}; or --force"
        )),
        // The question has started it.
        Ok(_) if live() => None,
        Ok(_) => Some(
            "hitherd serves without a table, which the module reads; 'hitherctl doctor' says more; or --force"
                .to_owned(),
        ),
    }
}

pub(super) fn disable(context: &Context, out: &mut impl Write, file: &Path) -> Result<End, End> {
    let done = edit(file, nsswitch::disabled, |path, old, new| {
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
    tell(context, out, (file, false), &done, None)
}

fn not_replaced(path: &Path, error: &std::io::Error) -> End {
    End::Failed(format!("'{}' cannot be replaced: {error}; nothing was changed", path.display()))
}

fn edit(
    file: &Path,
    change: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, Odd>,
    mut apply: impl FnMut(&Path, &[u8], &[u8]) -> Result<bool, End>,
) -> Result<Done, End> {
    let unreadable =
        |error: std::io::Error| End::Failed(format!("'{}' cannot be read: {error}", file.display()));
    let odd = |odd: Odd| End::Failed(format!("'{}': {odd}; nothing was changed", file.display()));
    // The file itself is replaced, not a link that leads to it.
    let path = std::fs::canonicalize(file).map_err(unreadable)?;
    let old = files::read(&path).map_err(unreadable)?;
    let new = change(&old).map_err(odd)?;
    let changed = match &new {
        Some(new) => apply(&path, &old, new)?,
        None => false,
    };
    let backup = Some(files::beside(&path, BACKUP)).filter(|backup| backup.exists());
    let line = |text: &[u8]| nsswitch::shown(text).map_err(odd);
    let hosts = line(new.as_ref().filter(|_| changed).unwrap_or(&old))?;
    let becomes = new.as_ref().filter(|_| !changed).map(|new| line(new)).transpose()?;
    Ok(Done { changed, becomes, backup, hosts, effect: effect(&old) })
}

fn tell(
    context: &Context,
    out: &mut impl Write,
    (file, dry_run): (&Path, bool),
    done: &Done,
    refused: Option<String>,
) -> Result<End, End> {
    if context.json {
        let object = serde_json::json!({
            "file": file, "changed": done.changed, "hosts": done.hosts, "backup": done.backup,
            "effect": done.effect, "becomes": done.becomes, "refused": refused,
            "done": !dry_run && done.becomes.is_none(),
        });
        writeln!(out, "{object}")?;
    }
    if let Some(why) = refused {
        return Err(End::Failed(why));
    }
    if context.json || done.becomes.is_some() {
        return Ok(End::Done);
    }
    let was = if done.changed { "now has" } else { "already has" };
    writeln!(out, "{} {was} hosts: {}", file.display(), done.hosts)?;
    if let Some(backup) = &done.backup {
        writeln!(out, "as it was before hither: {}", backup.display())?;
    }
    Ok(End::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    /// A directory of its own, gone with the test.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let dir = std::env::temp_dir().join(format!("hither-nss-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&dir).expect("a directory");
            Place(dir)
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

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    type Verb = fn(&Context, &mut Vec<u8>, &Path) -> Result<End, End>;

    fn enable(context: &Context, out: &mut Vec<u8>, file: &Path) -> Result<End, End> {
        super::enable(context, out, file, How { dry_run: false, force: true })
    }

    /// What the verb prints, or how it fails.
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
        let place = Place::new("back");
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
    fn a_backup_is_never_written_again_and_stays_if_it_differs() {
        let place = Place::new("backup");
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
    fn it_is_said_beforehand_and_refused_where_it_would_do_harm() {
        let place = Place::new("beforehand");
        let file = place.write("nsswitch.conf", BEFORE);
        let how = |dry_run, force| {
            let context = Context { dir: place.0.join("run"), json: false };
            let mut out = Vec::new();
            let end = super::enable(&context, &mut out, &file, How { dry_run, force });
            let why = if let Err(End::Failed(why)) = end { why } else { String::new() };
            (String::from_utf8(out).expect("text"), why)
        };
        let (said, why) = how(false, false);
        assert!(
            said.contains("takes away: dns is not asked any more") && said.contains(".hither-backup"),
            "{said}"
        );
        assert!(
            why.contains("hitherd does not run")
                && why.contains("systemctl enable --now")
                && why.contains("--force"),
            "{why}"
        );
        let (said, why) = how(true, true);
        assert!(
            said.contains("and gets hosts: files hither [NOTFOUND=return] dns") && why.is_empty(),
            "{said} {why}"
        );
        assert_eq!((text(&file).as_str(), place.names().len()), (BEFORE, 1), "nothing was done");
        let text = format!("# Generated by authselect on a day\n# Do not modify\n\n{BEFORE}");
        place.write("nsswitch.conf", &text);
        assert!(how(false, false).1.contains("authselect select custom/hither"));
    }

    #[test]
    fn a_link_stays_a_link() {
        let place = Place::new("link");
        place.write("real", BEFORE);
        let link = place.0.join("nsswitch.conf");
        symlink("real", &link).expect("a link");
        run(enable, &link).expect("enabled");
        assert_eq!(std::fs::read_link(&link).expect("still a link"), Path::new("real"));
        assert!(text(&link).contains("hither"));
    }

    #[test]
    fn what_cannot_be_edited_is_said_and_left_alone() {
        let place = Place::new("odd");
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
    fn a_file_that_somebody_else_changes_meanwhile_is_left_to_him() {
        let place = Place::new("race");
        let file = place.write("nsswitch.conf", BEFORE);
        let failed = files::replace(&file, b"something older", b"new").expect_err("it has changed");
        assert!(failed.to_string().contains("somebody else"), "{failed}");
        assert_eq!((text(&file).as_str(), place.names().len()), (BEFORE, 1));
    }
}
