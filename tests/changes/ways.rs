//! Ways that need no mount.

use super::{UNREADABLE, Way, plain, swap};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

pub const WAYS: &[Way] = &[
    Way { what: "written in place", before: plain, steps: &[(|p| p.write("hosts", 2), 2)] },
    Way {
        what: "written and left open",
        before: plain,
        steps: &[(|p| p.write_open("hosts", 2, OpenOptions::new().truncate(true)), 2)],
    },
    Way {
        what: "appended to and left open",
        before: |p| p.sh("echo '# hosts' >hosts"),
        steps: &[(|p| p.write_open("hosts", 2, OpenOptions::new().append(true)), 2)],
    },
    Way {
        what: "one octet written in the middle",
        before: plain,
        steps: &[(
            |p| {
                let file = OpenOptions::new().write(true).open(p.at("hosts")).expect("open");
                file.write_all_at(b"2", 11).expect("written");
            },
            2,
        )],
    },
    Way {
        what: "truncated, then written again",
        before: plain,
        steps: &[(|p| drop(File::create(p.at("hosts"))), 0), (|p| p.write("hosts", 2), 2)],
    },
    Way {
        what: "written to for ever",
        before: plain,
        steps: &[(
            |p| {
                p.write("hosts", 2);
                let mut file = OpenOptions::new().append(true).open(p.at("hosts")).expect("open");
                std::thread::spawn(move || {
                    // It ends when the directory is removed with the test.
                    for _ in 0..400 {
                        let _ = file.write_all(b"# more\n");
                        std::thread::sleep(Duration::from_millis(5));
                    }
                });
            },
            2,
        )],
    },
    Way {
        what: "renamed over",
        before: plain,
        steps: &[(
            |p| {
                p.write("new", 2);
                p.rename("new", "hosts");
            },
            2,
        )],
    },
    Way {
        what: "renamed over with the old times",
        before: plain,
        steps: &[(|p| p.sh("sed s/100.1/100.2/ hosts >new; touch -r hosts new; mv new hosts"), 2)],
    },
    Way {
        what: "removed, then made anew",
        before: plain,
        steps: &[
            (|p| fs::remove_file(p.at("hosts")).expect("removed"), 0),
            (|p| p.write("hosts", 2), 2),
            (|p| p.sh("rm hosts; sh -c \"echo 198.51.100.3 $N >hosts\""), 3),
        ],
    },
    Way {
        what: "as vim writes: the old one renamed, a new one, the old one removed",
        before: plain,
        steps: &[(
            |p| {
                p.rename("hosts", "hosts~");
                p.write("hosts", 2);
                fs::remove_file(p.at("hosts~")).expect("removed");
            },
            2,
        )],
    },
    Way { what: "sed -i", before: plain, steps: &[(|p| p.sh("sed -i s/100.1/100.2/ hosts"), 2)] },
    Way { what: "cp", before: plain, steps: &[(|p| p.sh("sed s/100.1/100.2/ hosts >new; cp new hosts"), 2)] },
    Way {
        what: "install, and ln -f",
        before: plain,
        steps: &[
            (|p| p.sh("echo 198.51.100.2 $N >new; install -m 644 new hosts"), 2),
            (|p| p.sh("echo 198.51.100.3 $N >other; ln -f other hosts"), 3),
        ],
    },
    Way {
        what: "written by another of its names",
        before: |p| {
            p.dirs("elsewhere");
            p.write("elsewhere/file", 1);
            fs::hard_link(p.at("elsewhere/file"), p.at("hosts")).expect("a name");
        },
        steps: &[(|p| p.write("elsewhere/file", 2), 2)],
    },
    Way {
        what: "exchanged with another file",
        before: |p| {
            plain(p);
            p.write("other", 2);
        },
        steps: &[(|p| p.exchange("hosts", "other"), 2), (|p| p.exchange("hosts", "other"), 1)],
    },
    Way {
        what: "a link: its target written, replaced, removed, the link replaced",
        before: |p| {
            p.dirs("elsewhere");
            p.write("elsewhere/a", 1);
            p.link("elsewhere/a", "hosts");
        },
        steps: &[
            (|p| p.write("elsewhere/a", 2), 2),
            (
                |p| {
                    p.write("elsewhere/b", 3);
                    p.rename("elsewhere/b", "elsewhere/a");
                },
                3,
            ),
            (|p| fs::remove_file(p.at("elsewhere/a")).expect("removed"), 0),
            (
                |p| {
                    p.write("elsewhere/c", 4);
                    p.relink(p.at("elsewhere/c"), "hosts");
                },
                4,
            ),
            (|p| p.write("elsewhere/c", 5), 5),
        ],
    },
    Way {
        what: "a link that becomes a file, and a file that becomes a link",
        before: |p| {
            p.write("a", 1);
            p.link("a", "hosts");
        },
        steps: &[
            (
                |p| {
                    p.write("new", 2);
                    p.rename("new", "hosts");
                },
                2,
            ),
            (
                |p| {
                    p.write("b", 3);
                    p.relink("b", "hosts");
                },
                3,
            ),
        ],
    },
    Way {
        what: "a chain of links, absolute and relative, exchanged in the middle",
        before: |p| {
            p.dirs("x/y");
            p.dirs("z");
            p.write("z/first", 1);
            p.write("z/second", 2);
            p.link(p.at("z/first"), "x/y/middle");
            p.link("../x/y/middle", "z/near");
            p.link("z/near", "hosts");
        },
        steps: &[(|p| p.relink("../../z/second", "x/y/middle"), 2), (|p| p.write("z/second", 3), 3)],
    },
    Way {
        what: "a link that leads nowhere until its target comes, directories and all",
        before: |p| p.link("run/systemd/resolve/file", "hosts"),
        steps: &[(
            |p| {
                p.dirs("run/systemd/resolve");
                p.write("run/systemd/resolve/file", 2);
            },
            2,
        )],
    },
    Way {
        what: "a ConfigMap",
        before: |p| {
            swap(p, 1);
            p.link("..data/hosts", "hosts");
        },
        steps: &[(|p| swap(p, 2), 2), (|p| swap(p, 3), 3), (|p| swap(p, 4), 4)],
    },
    Way {
        what: "a link to a directory in the middle, as on NixOS",
        before: |p| {
            for n in [1, 2] {
                p.dirs(&format!("store/{n}/etc"));
                p.write(&format!("store/{n}/etc/hosts"), n);
            }
            p.link("store/1/etc", "static");
            p.link(p.at("static/hosts"), "hosts");
        },
        steps: &[
            (|p| p.relink(p.at("store/2/etc"), "static"), 2),
            (|p| fs::remove_dir_all(p.at("store/2")).expect("removed"), 0),
            (|p| p.relink("store/1/etc", "static"), 1),
        ],
    },
    Way {
        what: "a loop of links that is mended",
        before: |p| {
            p.link("other", "hosts");
            p.link("hosts", "other");
        },
        steps: &[
            (
                |p| {
                    p.write("new", 2);
                    p.rename("new", "other");
                },
                2,
            ),
            (|p| p.relink("hosts", "other"), UNREADABLE),
        ],
    },
    Way {
        what: "renamed away with its directory, and back",
        before: |p| {
            p.dirs("a/b");
            p.write("a/b/file", 1);
            p.link("a/b/file", "hosts");
        },
        steps: &[(|p| p.rename("a", "gone"), 0), (|p| p.rename("gone", "a"), 1)],
    },
    Way {
        what: "a directory removed and made anew",
        before: |p| {
            p.dirs("a/b");
            p.write("a/b/file", 1);
            p.link("a/b/file", "hosts");
        },
        steps: &[
            (|p| fs::remove_dir_all(p.at("a")).expect("removed"), 0),
            (
                |p| {
                    p.dirs("a/b");
                    p.write("a/b/file", 2);
                },
                2,
            ),
            (|p| p.sh("rm -r a; mkdir -p a/b; echo 198.51.100.3 $N >a/b/file"), 3),
        ],
    },
    Way {
        what: "a directory exchanged with another",
        before: |p| {
            for (n, dir) in [(1, "a/b"), (2, "c/b")] {
                p.dirs(dir);
                p.write(&format!("{dir}/file"), n);
            }
            p.link("a/b/file", "hosts");
        },
        steps: &[
            (|p| p.exchange("a", "c"), 2),
            (|p| p.write("a/b/file", 3), 3),
            (|p| p.exchange("a/b", "c/b"), 1),
            (|p| p.write("a/b/file", 4), 4),
        ],
    },
    Way {
        what: "a tree that is moved to its place",
        before: |p| {
            p.dirs("made/b/c");
            p.write("made/b/c/file", 2);
            p.link("a/b/c/file", "hosts");
        },
        steps: &[(|p| p.rename("made", "a"), 2)],
    },
    Way {
        what: "a FIFO, then a file",
        before: plain,
        steps: &[
            (|p| p.sh("rm hosts; mkfifo hosts"), UNREADABLE),
            (|p| p.sh("rm hosts; echo 198.51.100.2 $N >hosts"), 2),
        ],
    },
    Way {
        what: "a directory, a socket, a device, then a file",
        before: |p| p.dirs("hosts"),
        steps: &[
            (
                |p| {
                    fs::remove_dir(p.at("hosts")).expect("removed");
                    p.write("hosts", 2);
                },
                2,
            ),
            (
                |p| {
                    fs::remove_file(p.at("hosts")).expect("removed");
                    drop(std::os::unix::net::UnixListener::bind(p.at("hosts")).expect("bound"));
                },
                UNREADABLE,
            ),
            (
                |p| {
                    p.write("new", 3);
                    p.rename("new", "hosts");
                },
                3,
            ),
            (|p| p.relink("/dev/zero", "hosts"), UNREADABLE),
            (|p| p.sh("rm hosts; echo 198.51.100.4 $N >hosts"), 4),
        ],
    },
    Way {
        what: "permission that comes and goes",
        before: |p| {
            plain(p);
            p.chmod("hosts", 0o000);
        },
        steps: &[(|p| p.chmod("hosts", 0o644), 1), (|p| p.write("hosts", 2), 2)],
    },
    Way {
        what: "in a directory that may be passed and not read",
        before: |p| {
            p.dirs("a");
            p.write("a/file", 1);
            p.link("a/file", "hosts");
            p.chmod("a", 0o711);
        },
        steps: &[
            (|p| p.write("a/file", 2), 2),
            (
                |p| {
                    p.write("a/new", 3);
                    p.rename("a/new", "a/file");
                },
                3,
            ),
            (|p| p.write("a/file", 4), 4),
        ],
    },
    Way {
        what: "permission for a directory that comes",
        before: |p| {
            p.dirs("a");
            p.write("a/file", 1);
            p.link("a/file", "hosts");
            p.chmod("a", 0o000);
        },
        steps: &[(|p| p.chmod("a", 0o755), 1)],
    },
];
