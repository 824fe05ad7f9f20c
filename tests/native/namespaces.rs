//! Other programs that use the NSS module, in mount and time namespaces and in a chroot.

use crate::support::{Daemon, compile, retried};
use crate::{command, has, is_root, skipped, text, upstream};
use std::io::{Read as _, Write as _};
use std::process::Output;

/// Runs a script in a mount namespace whose nsswitch.conf has hither first.
fn in_namespace(daemon: &Daemon, script: &str, args: &[&str]) -> Output {
    let nsswitch = daemon.dir.join("nsswitch.conf");
    std::fs::write(&nsswitch, "hosts: hither files\npasswd: files\ngroup: files\n").expect("writable");
    let script = format!("set -e; mount --bind {} /etc/nsswitch.conf; {script}", nsswitch.display());
    command(daemon, "unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"])
        .args(args)
        .output()
        .expect("unshare runs")
}

#[test]
fn other_programs_find_names_through_the_module() {
    let test = "other_programs_find_names_through_the_module";
    if !is_root(test) || !has("unshare", test) || !has("gcc", test) {
        return;
    }
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    let program = compile(&daemon.dir, "tests/native/threads.c", &["-Wl,--as-needed"]);
    let output = in_namespace(
        &daemon,
        "exec \"$@\"",
        &[program.to_str().expect("UTF-8"), "www.example", "198.18.0.3", "198.18.0.1", "198.18.0.2"],
    );
    assert!(output.status.success(), "{output:?}");
    if has("python3", test) {
        let ask = "import socket; print(*sorted({a[4][0] for a in socket.getaddrinfo('www.example', 80)}))";
        let output = in_namespace(&daemon, "exec \"$@\"", &["python3", "-c", ask]);
        assert_eq!(text(&output).trim(), "198.18.0.1 198.18.0.2 198.18.0.3 2001::5", "{output:?}");
    }
    if has("curl", test) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("curl connects");
            let mut request = [0; 1024];
            let _ = retried(|| stream.read(&mut request));
            stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\nhither\n").expect("it reads");
        });
        let url = format!("http://web.example:{port}/");
        let output =
            in_namespace(&daemon, "exec \"$@\"", &["curl", "-sS4", "--noproxy", "*", "-m", "10", &url]);
        assert_eq!(text(&output), "hither\n", "{output:?}");
        server.join().expect("no panic");
    }
}

#[test]
fn in_a_chroot_the_table_is_read_if_it_is_visible() {
    let test = "in_a_chroot_the_table_is_read_if_it_is_visible";
    if !is_root(test) || !has("unshare", test) {
        return;
    }
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    daemon.ask("www.example");
    let root = daemon.dir.join("root");
    std::fs::create_dir_all(&root).expect("a directory");
    let look = |hide: &str| {
        let script = format!(
            "mount --rbind / {root}; {hide} exec chroot {root} getent -s 'hosts:hither' ahostsv4 www.example",
            root = root.display()
        );
        in_namespace(&daemon, &script, &[])
    };
    let seen = look("");
    assert!(text(&seen).contains("198.18.0.3"), "{seen:?}");
    let hidden =
        look(&format!("mount -t tmpfs none {}{};", root.display(), daemon.dir.join("run").display()));
    assert_eq!(hidden.status.code(), Some(2), "no table there, so the next module is asked; {hidden:?}");
}

#[test]
fn in_another_time_namespace_no_table_is_read() {
    let test = "in_another_time_namespace_no_table_is_read";
    if !is_root(test) || !has("unshare", test) || !has("gcc", test) {
        return;
    }
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    daemon.ask("www.example");
    let program = compile(&daemon.dir, "src/capi/examples/lookup.c", &[]);
    let shifted = command(&daemon, "unshare")
        .args(["--time", "--boottime", "100000", "--fork"])
        .args([program.to_str().expect("UTF-8"), "www.example"])
        .output()
        .expect("unshare runs");
    if String::from_utf8_lossy(&shifted.stderr).contains("unshare:") {
        skipped(test, String::from_utf8_lossy(&shifted.stderr).trim());
        return;
    }
    assert!(String::from_utf8_lossy(&shifted.stderr).contains("time namespace"), "{shifted:?}");
    let getent = command(&daemon, "unshare")
        .args([
            "--time",
            "--boottime",
            "100000",
            "--fork",
            "getent",
            "-s",
            "hosts:hither",
            "hosts",
            "www.example",
        ])
        .output()
        .expect("unshare runs");
    assert_eq!(getent.status.code(), Some(2), "the next module is asked");
}
