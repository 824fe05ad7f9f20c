//! Tests of the changes of files that replace the data in force.

use super::*;
use hither_local::Verdict;
use mio::{Events, Poll, Token};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// A loader with the poll that it wakes, and a directory with a list and a hosts file.
struct Read {
    loader: ListLoader,
    poll: Poll,
    config: Config,
    dir: PathBuf,
}

impl Drop for Read {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Read {
    fn new(name: &str) -> Read {
        let dir = std::env::temp_dir().join(format!("hither-local-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        std::fs::write(dir.join("list"), "listed.example\n").expect("written");
        std::fs::write(dir.join("hosts"), "192.0.2.1 host.example\n").expect("written");
        let poll = Poll::new().expect("a poll");
        let waker = Waker::new(poll.registry(), Token(0)).expect("a waker");
        let mut config = Config::default();
        config.hosts = config::Hosts { files: vec![dir.join("hosts")], own_name: true };
        config.blocks = ["first.example", "second.example"].map(|name| block(&dir, name)).to_vec();
        let mut read = Read { loader: ListLoader::new(Arc::new(waker)), poll, config, dir };
        read.loader.load(&read.plan());
        read.make_unreadable();
        // The first data comes from files that can be read.
        read.begin();
        assert!(matches!(read.end(), Loaded::Unchanged));
        read
    }

    /// Replaces the files by directories, which cannot be read: the data stays in force.
    fn make_unreadable(&self) {
        for name in ["list", "hosts"] {
            std::fs::remove_file(self.dir.join(name)).expect("there");
            std::fs::create_dir(self.dir.join(name)).expect("a directory");
        }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::remove_dir(self.dir.join(name)).expect("there");
        std::fs::write(self.dir.join(name), text).expect("written");
    }

    fn plan(&self) -> Plan {
        Plan {
            hosts: self.config.hosts.clone(),
            blocks: self.config.blocks.clone(),
            system: None,
            rereads: false,
        }
    }

    fn begin(&mut self) {
        self.loader.begin(self.plan());
    }

    fn end(&mut self) -> Loaded {
        loop {
            let mut events = Events::with_capacity(1);
            self.poll.poll(&mut events, Some(LONG)).expect("polled");
            assert!(!events.is_empty(), "no result comes");
            if let Some(loaded) = self.loader.take() {
                return loaded;
            }
        }
    }

    fn reads_change(&mut self) -> bool {
        self.begin();
        matches!(self.end(), Loaded::Changed(_))
    }
}

fn block(dir: &Path, name: &str) -> config::Block {
    let names = vec![(name.parse().expect("a name"), Match::Exact)];
    config::Block { files: vec![dir.join("list")], names, covers: Match::Subtree, verdict: Verdict::NxDomain }
}

#[test]
fn unchanged_data_is_not_put_in_force_again() {
    let mut read = Read::new("same");
    assert!(!read.reads_change(), "nothing has changed");
    read.write("list", "listed.example\n");
    assert!(read.reads_change(), "a list was read again");
    std::fs::remove_file(read.dir.join("list")).expect("there");
    assert!(!read.reads_change(), "what was read of a list that is gone stays");
    read.write("hosts", "192.0.2.1 host.example\n");
    assert!(read.reads_change(), "a hosts file was read again");
    std::fs::remove_file(read.dir.join("hosts")).expect("there");
    assert!(read.reads_change(), "a hosts file is gone");
    assert!(!read.reads_change(), "it is still gone");
    read.config.blocks.reverse();
    assert!(read.reads_change(), "the blocks have another order");
    read.config.blocks[0].verdict = Verdict::NoData;
    assert!(read.reads_change(), "something else is said of blocked names");
    assert!(!read.reads_change());
    read.config.hosts.own_name = false;
    assert_eq!(read.reads_change(), own_name().is_some(), "the host's name is not answered any more");
    assert!(!read.reads_change());
}

#[test]
fn data_that_a_later_read_overtakes_is_put_in_force_by_that_one() {
    let mut read = Read::new("next");
    read.write("list", "other.example\n");
    read.begin();
    // While the file is read, another read is requested, and the file goes.
    read.begin();
    let first = read.loader.results.1.recv_timeout(LONG).expect("read");
    std::fs::remove_file(read.dir.join("list")).expect("there");
    read.loader.results.0.send(first).expect("kept");
    let Loaded::Changed(local) = read.end() else { panic!("it is not in force yet") };
    assert_eq!(local.blocked_by(&"other.example".parse().expect("a name")), Some(1));
    assert!(!read.reads_change());
}
