//! A TCP connection whose first octets are acknowledged at once.

use hither_net::ports::acknowledge_now;
use mio::net::TcpStream;
use std::io::{self, Read, Write};

/// Reads that are acknowledged at once. A server that uses Nagle's algorithm keeps its first answer until
/// its session tickets are acknowledged, and the kernel delays that by 40 ms.
const ACKNOWLEDGED_READS: u8 = 8;

/// A TCP connection.
#[derive(Debug)]
pub(super) struct Stream {
    inner: TcpStream,
    acknowledged: u8,
}

impl From<TcpStream> for Stream {
    fn from(inner: TcpStream) -> Stream {
        Stream { inner, acknowledged: 0 }
    }
}

impl Read for Stream {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(octets)?;
        if self.acknowledged < ACKNOWLEDGED_READS {
            self.acknowledged += 1;
            acknowledge_now(&self.inner);
        }
        Ok(count)
    }
}

impl Write for Stream {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.inner.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
