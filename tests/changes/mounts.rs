//! Ways that mount something.

use super::{Way, plain};

/// Ways that mount something.
pub const MOUNTS: &[Way] = &[
    Way {
        what: "another file mounted over it",
        before: |p| {
            plain(p);
            p.write("other", 2);
        },
        steps: &[
            (|p| p.sh("mount --bind other hosts"), 2),
            (|p| p.write("other", 3), 3),
            (|p| p.sh("umount hosts"), 1),
            (|p| p.write("hosts", 4), 4),
        ],
    },
    Way {
        what: "another directory mounted over its own, and over one above",
        before: |p| {
            for (n, dir) in [(1, "a/b"), (2, "c"), (3, "d/b")] {
                p.dirs(dir);
                p.write(&format!("{dir}/file"), n);
            }
            p.link("a/b/file", "hosts");
        },
        steps: &[
            (|p| p.sh("mount --bind c a/b"), 2),
            (|p| p.write("c/file", 4), 4),
            (|p| p.sh("umount a/b"), 1),
            (|p| p.sh("mount --bind d a"), 3),
            (|p| p.write("a/b/file", 5), 5),
            (|p| p.sh("umount a"), 1),
        ],
    },
    Way {
        what: "a file system that is mounted, filled, and unmounted",
        before: |p| {
            p.dirs("a");
            p.link("a/file", "hosts");
        },
        steps: &[
            (|p| p.sh("mount -t tmpfs none a"), 0),
            (|p| p.write("a/file", 2), 2),
            (|p| p.sh("umount a"), 0),
        ],
    },
    Way {
        what: "overlayfs: a file of the lower layer written, removed, made anew; one that only comes later",
        before: |p| {
            p.sh("mkdir o; mount -t tmpfs none o; mkdir -p o/lower/etc o/upper o/work o/merged");
            p.write("o/lower/etc/hosts", 1);
            p.sh("mount -t overlay overlay -o lowerdir=o/lower,upperdir=o/upper,workdir=o/work o/merged");
            p.link("o/merged/etc/hosts", "hosts");
        },
        steps: &[
            (|p| p.write("o/merged/etc/hosts", 2), 2),
            (|p| p.sh("echo 198.51.100.3 $N >o/merged/etc/new; mv o/merged/etc/new o/merged/etc/hosts"), 3),
            (|p| p.sh("rm o/merged/etc/hosts"), 0),
            (|p| p.write("o/merged/etc/hosts", 4), 4),
            (|p| p.sh("rm -r o/merged/etc"), 0),
            (|p| p.sh("mkdir o/merged/etc; echo 198.51.100.5 $N >o/merged/etc/hosts"), 5),
        ],
    },
];
