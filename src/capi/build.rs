//! Options of the linker for the library: its soname; never unloaded, since a thread may be reading;
//! no undefined symbols, so that a reachable panic is an error.
fn main() {
    for argument in ["-soname,libhither.so.1", "-z,relro,-z,now", "-z,nodelete"] {
        println!("cargo::rustc-cdylib-link-arg=-Wl,{argument}");
    }
    // PROFILE is `release` for the profile `loadable` and for all others that inherit from `release`.
    // Where panics abort, as with `loadable`, the panic handler is ours and calls a function that does
    // not exist. In the others the standard library has the handler, and all symbols are defined.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,--no-undefined");
    }
}
