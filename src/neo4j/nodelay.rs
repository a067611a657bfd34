//! Sets TCP_NODELAY on connections that a library opens and does not expose.
//!
//! The driver never sets it. A request above its 8 KiB buffer then ends in a small segment, which
//! the kernel holds back until the server acknowledges the previous one: 40 ms for every batch. The
//! option belongs to the socket, not to the library's stream object. So the process can set it
//! through its own list of descriptors, with or without TLS.

use std::{
    fs,
    os::fd::{BorrowedFd, RawFd},
    sync::{Mutex, PoisonError},
};

use socket2::SockRef;

#[cfg(target_os = "linux")]
const DESCRIPTORS: &str = "/proc/self/fd";
#[cfg(not(target_os = "linux"))]
const DESCRIPTORS: &str = "/dev/fd";

/// Keeps TCP_NODELAY set on the sockets to a port.
#[derive(Debug)]
pub struct NoDelay {
    port: u16,
    /// The sockets that the last search found. They have the option.
    found: Mutex<Vec<Socket>>,
}

/// Identifies a socket: a reused descriptor has another local port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    descriptor: RawFd,
    local_port: u16,
}

impl NoDelay {
    /// For sockets whose peer's port is `port`.
    ///
    /// The port is enough. The driver does not tell which of a name's addresses it chose, and the
    /// option does no harm on another of our connections to the same port.
    pub fn to(port: u16) -> Self {
        NoDelay { port, found: Mutex::default() }
    }

    /// Sets the option, if a socket may have appeared since the last call.
    ///
    /// The caller has one connection, and a new one replaces it only when the old one is closed. So
    /// while all known sockets exist, there is nothing to do. That check costs one system call for
    /// each; a search costs some for every descriptor of the process.
    pub fn keep(&self) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.is_empty() || found.iter().any(|it| Socket::at(it.descriptor) != Some(*it)) {
            *found = set_all(self.port);
        }
    }
}

impl Socket {
    fn at(descriptor: RawFd) -> Option<Self> {
        let local = with_socket(descriptor, |socket| socket.local_addr()).ok()?;
        Some(Socket { descriptor, local_port: local.as_socket()?.port() })
    }
}

/// Sets it on every socket of this process to the port, and returns those.
fn set_all(port: u16) -> Vec<Socket> {
    let Ok(entries) = fs::read_dir(DESCRIPTORS) else { return Vec::new() };
    let descriptors = entries.flatten().filter_map(|it| it.file_name().to_str()?.parse().ok());
    descriptors.filter(|it| set_on(*it, port)).filter_map(Socket::at).collect()
}

fn set_on(descriptor: RawFd, port: u16) -> bool {
    with_socket(descriptor, |socket| {
        let peer = socket.peer_addr().ok().and_then(|address| address.as_socket());
        peer.is_some_and(|peer| peer.port() == port) && socket.set_tcp_nodelay(true).is_ok()
    })
}

fn with_socket<T>(descriptor: RawFd, look: impl FnOnce(&SockRef<'_>) -> T) -> T {
    // SAFETY: the descriptor was in the process's list a moment ago. If it has been closed since,
    // or is another file now, the call on it fails, or sets this harmless option on another socket.
    // Nothing is read or closed.
    #[allow(unsafe_code)]
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
    look(&SockRef::from(&descriptor))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::{TcpListener, TcpStream};

    use super::NoDelay;

    #[test]
    fn it_is_set_on_connections_to_the_port_and_on_no_other() {
        let listeners = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let [ours, other] = listeners.each_ref().map(|it| it.local_addr().unwrap());
        let (to_ours, to_other) =
            (TcpStream::connect(ours).unwrap(), TcpStream::connect(other).unwrap());
        NoDelay::to(ours.port()).keep();
        assert!(to_ours.nodelay().unwrap());
        assert!(!to_other.nodelay().unwrap());
    }

    #[test]
    fn a_connection_in_the_place_of_another_gets_it_too() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let no_delay = NoDelay::to(address.port());
        no_delay.keep();
        let first = TcpStream::connect(address).unwrap();
        no_delay.keep();
        assert!(first.nodelay().unwrap());
        drop(first);
        let second = TcpStream::connect(address).unwrap();
        assert!(!second.nodelay().unwrap());
        no_delay.keep();
        assert!(second.nodelay().unwrap());
    }
}
