//! Every call to the kernel, behind safe functions. With `handle.rs`, which exchanges mappings, and `arena.rs`, which fills the caller's buffer,
//! all the unsafe code of this crate.
#![allow(unsafe_code)]

use crate::ask::Asked;
use crate::handle::Unusable;
use core::ffi::{CStr, c_int, c_void};
use core::mem;
use core::net::SocketAddr;
use core::sync::atomic::AtomicU64;
use hither_table::layout::{HEADER, head};
use hither_table::trust::{self, Facts, Rights, judge};
use hither_table::{Monotonic, Source, network};

/// A descriptor that is closed when it is let go.
pub struct Descriptor(c_int);

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours, and closed only here.
        unsafe { libc::close(self.0) };
    }
}

impl Descriptor {
    fn of(number: c_int) -> Option<Descriptor> {
        (number >= 0).then_some(Descriptor(number))
    }
}

/// Path of something in the runtime directory, with its final NUL.
pub struct Path {
    octets: [u8; Path::MAX + 1],
    len: usize,
}

impl Path {
    /// Longest path, the final NUL not counted: that of a local socket's address.
    pub const MAX: usize = 107;

    pub fn new() -> Path {
        Path { octets: [0; Path::MAX + 1], len: 0 }
    }

    /// Puts `more` behind; `None` if that is too long or holds a NUL.
    pub fn push(&mut self, more: &[u8]) -> Option<()> {
        for octet in more {
            if *octet == 0 || self.len >= Path::MAX {
                return None;
            }
            *self.octets.get_mut(self.len)? = *octet;
            self.len += 1;
        }
        Some(())
    }

    fn as_c(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.octets).unwrap_or_default()
    }
}

/// The environment's choice of the runtime directory, unless the program runs with more rights than who started it.
pub fn chosen_dir(out: &mut Path) -> Option<()> {
    // SAFETY: the name is a C string; the result is a C string of the environment, copied at once. A program that changes its
    // environment in another thread at this moment has the same race with every getenv of libc.
    unsafe {
        let value = secure_getenv(c"HITHER_RUNTIME_DIR".as_ptr());
        if value.is_null() || *value == 0 {
            return None;
        }
        out.push(CStr::from_ptr(value).to_bytes())
    }
}

unsafe extern "C" {
    fn secure_getenv(name: *const core::ffi::c_char) -> *const core::ffi::c_char;
}

/// The beginning of `struct __res_state`: what the C library made of resolv.conf, the environment and the host's name for this thread.
/// It looks at resolv.conf again before it calls a source of names.
#[repr(C)]
struct ResolverState {
    retrans: c_int,
    retry: c_int,
    options: core::ffi::c_ulong,
    nscount: c_int,
    servers: [libc::sockaddr_in; 3],
    id: u16,
    dnsrch: [*const core::ffi::c_char; SEARCHED + 1],
    defdname: [core::ffi::c_char; 256],
    pfcode: core::ffi::c_ulong,
    /// `ndots` in the four bits that come first.
    bits: u32,
}

/// Domains of a search list that programs can see.
const SEARCHED: usize = 6;
const RES_INIT: core::ffi::c_ulong = 1;

unsafe extern "C" {
    fn __res_state() -> *const ResolverState;
}

/// How this thread's resolver completes names: resolv.conf(5)'s `search` and `options`. It stays as it is while the thread asks nothing
/// of the C library.
pub struct Resolver {
    /// `RES_` options of `<resolv.h>`.
    pub options: u64,
    /// A name with fewer dots is looked for in the search list first.
    pub ndots: usize,
    dnsrch: [*const core::ffi::c_char; SEARCHED + 1],
}

impl Resolver {
    /// That of the calling thread; `None` if it has none yet.
    #[must_use]
    pub fn of_thread() -> Option<Resolver> {
        // SAFETY: the C library gives a place of this thread, which stays; only this thread writes it.
        let state = unsafe { __res_state().as_ref() }?;
        let ndots = if cfg!(target_endian = "little") { state.bits & 15 } else { state.bits >> 28 };
        let made = state.options & RES_INIT != 0;
        made.then_some(Resolver { options: state.options, ndots: ndots as usize, dnsrch: state.dnsrch })
    }

    /// Domain `n` of the search list.
    #[must_use]
    pub fn domain(&self, n: usize) -> Option<&[u8]> {
        let domain = *self.dnsrch.get(..SEARCHED)?.get(n)?;
        // SAFETY: not null, hence a C string of the thread's resolver, which does not change while this is used.
        (!domain.is_null()).then(|| unsafe { CStr::from_ptr(domain) }.to_bytes())
    }
}

/// Whether the environment has a value for a name.
#[must_use]
pub fn is_in_environment(name: &CStr) -> bool {
    // SAFETY: a C string; the result is compared with null, as of `chosen_dir`.
    unsafe { !secure_getenv(name.as_ptr()).is_null() }
}

/// What a mapping is of, so that another file in its place is noticed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FileId(pub u64, pub u64);

/// Words of a file that others write: mapped read-only until [`unmap`].
#[derive(Clone, Copy)]
pub struct Mapped {
    pub words: *const AtomicU64,
    pub count: usize,
    pub file: FileId,
}

fn status(call: impl FnOnce(*mut libc::stat) -> c_int) -> Option<libc::stat> {
    let mut stat = mem::MaybeUninit::<libc::stat>::zeroed();
    let done = call(stat.as_mut_ptr()) == 0;
    // SAFETY: zeroed, which is valid for this plain C structure, and then filled by the kernel.
    done.then(|| unsafe { stat.assume_init() })
}

/// An open table that was found to be believed.
pub struct Opened {
    file: Descriptor,
    words: usize,
    id: FileId,
    /// Whom it belongs to.
    pub owner: u32,
}

impl Opened {
    /// How many words it has.
    pub fn words(&self) -> usize {
        self.words
    }
}

impl Source for Opened {
    fn read(&self, at: usize, out: &mut [u64]) -> Option<()> {
        let octets = size_of_val(out);
        let from = libc::off_t::try_from(at.checked_mul(8)?).ok()?;
        // SAFETY: the octets of a slice of numbers, which are ours to write and for which all values are valid.
        let got = unsafe { libc::pread(self.file.0, out.as_mut_ptr().cast(), octets, from) };
        // Short of what is asked for: somebody has cut the file.
        (usize::try_from(got) == Ok(octets)).then_some(())
    }
}

/// Opens `hosts` in `dir`, if `hither_table::trust` has nothing against it.
#[cold]
pub fn open_table(dir: &Path) -> Result<Opened, Unusable> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOFOLLOW;
    // SAFETY: the path is a C string that outlives the call.
    let folder = unsafe { libc::open(dir.as_c().as_ptr(), flags | libc::O_DIRECTORY) };
    let folder = Descriptor::of(folder).ok_or(Unusable::NoTable)?;
    // SAFETY: an open descriptor, a C string, and for the calls of `fstat` a place for their result.
    let (outer, file, stat) = unsafe {
        let outer = status(|to| libc::fstat(folder.0, to)).ok_or(Unusable::NoTable)?;
        let file = libc::openat(folder.0, c"hosts".as_ptr(), flags);
        let file = Descriptor::of(file).ok_or(Unusable::NoTable)?;
        let stat = status(|to| libc::fstat(file.0, to)).ok_or(Unusable::NoTable)?;
        (outer, file, stat)
    };
    let facts = |stat: &libc::stat| Facts { mode: stat.st_mode, uid: stat.st_uid };
    judge(facts(&outer), facts(&stat)).map_err(|_| Unusable::NotTrusted)?;
    let [octets, blocks] = [stat.st_size, stat.st_blocks].map(|count| u64::try_from(count).unwrap_or(0));
    let words = trust::words(octets, blocks).map_err(|_| Unusable::NotATable)?;
    Ok(Opened { file, words, id: FileId(stat.st_dev, stat.st_ino), owner: stat.st_uid })
}

/// What this process is to be spared, see `hither_table::trust`.
pub fn rights() -> Rights {
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: three places for the result; an error leaves root, the careful answer. getauxval has no preconditions.
    let secure = unsafe {
        libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved);
        libc::getauxval(libc::AT_SECURE) != 0
    };
    Rights { uids: [real, effective, saved], secure }
}

fn map(table: &Opened, count: usize) -> Result<*mut c_void, Unusable> {
    // SAFETY: no address is asked for, the descriptor is open, and the file is not shorter.
    let at = unsafe {
        libc::mmap(core::ptr::null_mut(), count * 8, libc::PROT_READ, libc::MAP_SHARED, table.file.0, 0)
    };
    if at == libc::MAP_FAILED { Err(Unusable::NoTable) } else { Ok(at) }
}

/// Maps a table, whole.
#[cold]
pub fn map_table(table: &Opened) -> Result<Mapped, Unusable> {
    let at = map(table, table.words)?;
    Ok(Mapped { words: at.cast(), count: table.words, file: table.id })
}

/// Waits, without holding a descriptor, until something has changed since `seen` changes, for who must not map the table: at a header that only the kernel
/// looks at, which says so if it is not there any more.
pub fn wait_at_header(table: Opened, seen: u32, timeout_ms: u32) {
    let Ok(at) = map(&table, HEADER) else { return };
    drop(table);
    futex_wait(at.cast::<u64>().wrapping_add(head::CHANGES).cast::<u32>(), seen, timeout_ms);
    // SAFETY: mapped above, of that size, and nobody else knows of it.
    unsafe { libc::munmap(at, HEADER * 8) };
}

/// Which file is `hosts` in `dir` now.
pub fn table_file(dir: &Path) -> Option<FileId> {
    let mut path = Path { octets: dir.octets, len: dir.len };
    path.push(b"/hosts")?;
    // SAFETY: a C string, and a place for the result.
    let stat = status(|to| unsafe { libc::lstat(path.as_c().as_ptr(), to) })?;
    Some(FileId(stat.st_dev, stat.st_ino))
}

/// # Safety
/// The mapping must be one of [`map_table`]'s, not unmapped yet, and nobody may read it from now on.
pub unsafe fn unmap(words: *const AtomicU64, count: usize) {
    // SAFETY: as the caller promises.
    unsafe { libc::munmap(words.cast_mut().cast::<c_void>(), count * 8) };
}

fn clock(which: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the result; the clock exists since Linux 2.6.39, and an error leaves zero.
    unsafe { libc::clock_gettime(which, &raw mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// The table's clock.
pub fn now() -> Monotonic {
    Monotonic(clock(libc::CLOCK_BOOTTIME))
}

/// The wall clock less the table's, in milliseconds.
pub fn clock_offset_ms() -> u64 {
    clock(libc::CLOCK_REALTIME).wrapping_sub(clock(libc::CLOCK_BOOTTIME)) / 1_000_000
}

/// The network namespace of this thread, by its number; 0 if it cannot be told.
pub fn network() -> u32 {
    let mut link = [0_u8; 32];
    // SAFETY: a C string, and a place of so many octets.
    let len = unsafe { libc::readlink(network::PATH.as_ptr(), link.as_mut_ptr().cast(), link.len()) };
    usize::try_from(len).ok().and_then(|len| link.get(..len)).map_or(0, network::number)
}

/// This process, to tell a forked child from its parent.
pub fn process() -> u32 {
    // SAFETY: getpid has no preconditions.
    unsafe { libc::getpid() as u32 }
}

/// Lets other threads run.
pub fn give_way() {
    // SAFETY: sched_yield has no preconditions.
    unsafe { libc::sched_yield() };
}

/// Waits until the lower half of `word` is no longer `seen`; may return early.
pub fn wait(word: &AtomicU64, seen: u32, timeout_ms: u32) {
    futex_wait(word.as_ptr().cast::<u32>(), seen, timeout_ms);
}

fn futex_wait(word: *const u32, seen: u32, timeout_ms: u32) {
    let time = libc::timespec {
        tv_sec: libc::time_t::from(timeout_ms / 1000),
        tv_nsec: libc::c_long::from(timeout_ms % 1000) * 1_000_000,
    };
    // SAFETY: the kernel loads four octets from the address, and says so where there are none; nothing here does. `time` outlives the call.
    unsafe {
        libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, seen, &raw const time);
    }
}

/// A socket that is connected to the daemon, does not block, and is closed when let go.
pub fn connect(to: &SocketAddr) -> Option<Descriptor> {
    let (family, len) = match to {
        SocketAddr::V4(_) => (libc::AF_INET, size_of::<libc::sockaddr_in>()),
        SocketAddr::V6(_) => (libc::AF_INET6, size_of::<libc::sockaddr_in6>()),
    };
    // SAFETY: plain C structures for which zero is valid; the length is that of the one that is filled; the socket is ours.
    unsafe {
        let mut place: libc::sockaddr_in6 = mem::zeroed();
        match to {
            SocketAddr::V4(v4) => {
                let v4_place = (&raw mut place).cast::<libc::sockaddr_in>();
                (*v4_place).sin_family = libc::AF_INET as libc::sa_family_t;
                (*v4_place).sin_port = v4.port().to_be();
                (*v4_place).sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
            }
            SocketAddr::V6(v6) => {
                place.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                place.sin6_port = v6.port().to_be();
                place.sin6_addr.s6_addr = v6.ip().octets();
            }
        }
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let socket = Descriptor::of(libc::socket(family, kind, 0))?;
        let done = libc::connect(socket.0, (&raw const place).cast(), len as libc::socklen_t) == 0;
        done.then_some(socket)
    }
}

/// Sends one datagram without waiting.
pub fn send(socket: &Descriptor, octets: &[u8]) -> Option<()> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the octets are readable for their length.
    let sent = unsafe { libc::send(socket.0, octets.as_ptr().cast(), octets.len(), flags) };
    (usize::try_from(sent) == Ok(octets.len())).then_some(())
}

/// Receives one datagram, waiting until the table's clock shows `until`; else says whether nothing came, or nobody is there.
pub fn receive(socket: &Descriptor, out: &mut [u8], until: Monotonic) -> Result<usize, Asked> {
    loop {
        // SAFETY: the octets are writable for their length.
        let got = unsafe { libc::recv(socket.0, out.as_mut_ptr().cast(), out.len(), libc::MSG_DONTWAIT) };
        if let Ok(got) = usize::try_from(got) {
            return Ok(got);
        }
        // SAFETY: errno of this thread.
        let error = unsafe { *libc::__errno_location() };
        if error != libc::EAGAIN && error != libc::EINTR {
            return Err(Asked::Refused);
        }
        let left_ms = until.0.saturating_sub(now().0).div_ceil(1_000_000);
        if left_ms == 0 {
            return Err(Asked::Silent);
        }
        let mut wait = libc::pollfd { fd: socket.0, events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure, and its count. Every outcome means: look again.
        unsafe { libc::poll(&raw mut wait, 1, c_int::try_from(left_ms).unwrap_or(c_int::MAX)) };
    }
}

/// Sends one datagram to a local socket; what cannot be sent at once is not sent.
pub fn send_local(path: &Path, octets: &[u8]) {
    // SAFETY: a plain C structure for which zero is valid; the path fits with its NUL, since `Path::MAX` is one less.
    unsafe {
        let mut place: libc::sockaddr_un = mem::zeroed();
        place.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in place.sun_path.iter_mut().zip(path.octets) {
            *to = from as core::ffi::c_char;
        }
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let Some(socket) = Descriptor::of(libc::socket(libc::AF_UNIX, kind, 0)) else { return };
        let len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        libc::sendto(socket.0, octets.as_ptr().cast(), octets.len(), flags, (&raw const place).cast(), len);
    }
}

/// Saves errno of this thread, and puts it back when dropped: a lookup that ends well leaves no trace there.
pub struct Errno(c_int);

impl Errno {
    /// Notes errno as it is.
    #[must_use]
    pub fn keep() -> Errno {
        // SAFETY: errno of this thread.
        Errno(unsafe { *libc::__errno_location() })
    }
}

impl Drop for Errno {
    fn drop(&mut self) {
        // SAFETY: errno of this thread.
        unsafe { *libc::__errno_location() = self.0 };
    }
}
