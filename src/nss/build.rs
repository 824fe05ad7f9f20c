//! How the module is linked: its soname; never unloaded; no undefined symbols, so that a reachable
//! panic is an error.
fn main() {
    for argument in ["-soname,libnss_hither.so.2", "-z,relro,-z,now", "-z,nodelete", "-z,noseparate-code"] {
        println!("cargo::rustc-cdylib-link-arg=-Wl,{argument}");
    }
    // Only where panics abort is the panic handler ours, and nothing left that needs one.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,--no-undefined");
    }
}
