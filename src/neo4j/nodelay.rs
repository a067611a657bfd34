//! TCP_NODELAY for connections that a library opened and does not let us touch.
//!
//! The driver never sets it. A request above its 8 KiB buffer then ends in a small segment, which
//! the kernel holds back until the server acknowledges the one before: 40 ms for every batch. The
//! option belongs to the socket, not to the library's stream object, so that it can be set through
//! the process's own list of descriptors, TLS or not.

use std::{
    fs,
    os::fd::{BorrowedFd, RawFd},
};

use socket2::SockRef;

#[cfg(target_os = "linux")]
const DESCRIPTORS: &str = "/proc/self/fd";
#[cfg(not(target_os = "linux"))]
const DESCRIPTORS: &str = "/dev/fd";

/// Sets TCP_NODELAY on every socket of this process whose peer's port is `port`; says how many
/// there are.
///
/// The port is enough: which of a name's addresses the driver took is not known here, and on
/// another of our connections to the same port the option does no harm. Costs a few microseconds a
/// descriptor.
pub fn set(port: u16) -> usize {
    let Ok(entries) = fs::read_dir(DESCRIPTORS) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok())
        .filter(|descriptor| set_on(*descriptor, port))
        .count()
}

fn set_on(descriptor: RawFd, port: u16) -> bool {
    // SAFETY: the descriptor was in the process's list a moment ago. If it has been closed since,
    // or is another file by now, the two calls below fail or set this harmless option on another
    // socket; nothing is read or closed.
    #[allow(unsafe_code)]
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let socket = SockRef::from(&descriptor);
    let peer = socket.peer_addr().ok().and_then(|address| address.as_socket());
    peer.is_some_and(|peer| peer.port() == port) && socket.set_tcp_nodelay(true).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::{TcpListener, TcpStream};

    #[test]
    fn it_is_set_on_connections_to_the_port_and_on_no_other() {
        let (ours, other) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let to_ours = TcpStream::connect(ours.local_addr().unwrap()).unwrap();
        let to_other = TcpStream::connect(other.local_addr().unwrap()).unwrap();
        assert_eq!(super::set(ours.local_addr().unwrap().port()), 1);
        assert!(to_ours.nodelay().unwrap());
        assert!(!to_other.nodelay().unwrap());
    }
}
