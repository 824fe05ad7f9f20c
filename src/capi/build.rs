//! How the library is linked: its soname; never unloaded, since a thread may be reading; no
//! undefined symbols, so that a reachable panic is an error.
fn main() {
    for argument in ["-soname,libhither.so.1", "-z,relro,-z,now", "-z,nodelete"] {
        println!("cargo::rustc-cdylib-link-arg=-Wl,{argument}");
    }
    // Only where panics abort is the panic handler ours, and nothing left that needs one.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,--no-undefined");
    }
}
