//! `status --ready`: what the program beside says of itself. An image without a shell or curl can ask
//! this way.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

use crate::{config::Listen, service::ServiceError};

use super::super::print;

/// The program answers at once or not at all: health checks have seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The reasons are a few lines.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Succeeds if the program that listens there is ready.
pub fn execute(listen: &Listen) -> Result<(), ServiceError> {
    let address = match listen {
        Listen::At(address) => address,
        Listen::Default => Listen::DEFAULT,
        Listen::Off => {
            return Err(ServiceError::Usage(
                "HTTP is off, so that nobody can be asked: give --http or http.listen an address"
                    .to_owned(),
            ));
        }
    };
    let (is_ready, reasons) = ask(address).map_err(|error| {
        ServiceError::Definite(format!(
            "the program does not answer at {address}: {error}. Is it up on this machine? --http, http.listen and \
             WAL2GRAPH_HTTP name its address; with port 0 only its log does"
        ))
    })?;
    match is_ready {
        true => print(&reasons),
        false => Err(ServiceError::Definite(format!("not ready: {}", reasons.trim_end()))),
    }
}

/// Whether the program is ready, and its words.
fn ask(address: &str) -> io::Result<(bool, String)> {
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    let request = format!("GET /ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    match (status, body) {
        (Some("200"), Some(body)) => Ok((true, body)),
        (Some("503"), Some(body)) => Ok((false, body)),
        _ => Err(io::Error::other("what answers there is not wal2graph")),
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut failed = io::Error::other("the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&this_machine(address), ANSWER_LIMIT) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// What listens on all addresses is asked at the loopback one.
fn this_machine(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// What `status --ready` says of a program that answers like this.
    fn asked(answer: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let program = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a question");
            let mut question = [0; 1024];
            let length = stream.read(&mut question).expect("it is readable");
            stream.write_all(answer.as_bytes()).expect("it is read");
            String::from_utf8_lossy(&question[..length]).into_owned()
        });
        let said = execute(&Listen::At(format!("0.0.0.0:{port}")));
        let question = program.join().expect("the program does not panic");
        assert!(question.starts_with("GET /ready HTTP/1.1\r\n"), "{question}");
        said.map_err(|error| error.to_string())
    }

    #[test]
    fn the_answer_decides() {
        assert_eq!(asked("HTTP/1.1 200 OK\r\nx: y\r\n\r\nready\n"), Ok(()));
        let copying = asked("HTTP/1.1 503 Service Unavailable\r\n\r\ncopying: not all rows\n");
        assert_eq!(copying, Err("not ready: copying: not all rows".to_owned()));
        let other = asked("HTTP/1.1 404 Not Found\r\n\r\n").expect_err("it is another program");
        assert!(other.contains("is not wal2graph"), "{other}");
    }

    #[test]
    fn nobody_there_and_http_off_are_told_apart() {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let nobody = execute(&Listen::At(free.expect("a free port").to_string()));
        let nobody = nobody.expect_err("nobody listens").to_string();
        assert!(nobody.contains("does not answer at 127.0.0.1:"), "{nobody}");
        let off = execute(&Listen::Off).expect_err("nobody can be asked");
        assert!(matches!(off, ServiceError::Usage(_)), "{off}");
    }
}
