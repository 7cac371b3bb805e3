//! A port that stays with its test while the program on it is dead.

use socket2::{Domain, Socket, Type};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

/// A free port that no other program gets while this value lives, although nothing has to listen on it: a server that was killed can be
/// started again on it, and until then connections to it are refused.
///
/// A socket is bound to it and never listens. Linux then gives the port to no program that asks for any free one, and lets a program that
/// names it listen on it, if it sets `SO_REUSEADDR`, as the standard library, tokio and redis-server do. Other systems do not let it, so
/// there the port is only looked up, and another program may get it.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    _held: Option<Socket>,
}

impl Port {
    /// Reserves a port of this address of the machine.
    ///
    /// # Errors
    /// The machine has no such address or no free port.
    pub fn reserve(ip: impl Into<IpAddr>) -> io::Result<Self> {
        let any = SocketAddr::new(ip.into(), 0);
        let socket = Socket::new(Domain::for_address(any), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&any.into())?;
        let address = socket.local_addr()?.as_socket();
        let address = address.ok_or_else(|| io::Error::other("a socket without an IP address"))?;
        Ok(Self {
            address,
            _held: cfg!(target_os = "linux").then_some(socket),
        })
    }

    /// Reserves a port of 127.0.0.1.
    ///
    /// # Errors
    /// There is no free port.
    pub fn loopback() -> io::Result<Self> {
        Self::reserve(Ipv4Addr::LOCALHOST)
    }

    /// The address with the port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of the port.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.address.port()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn programs_listen_on_a_reserved_port_one_after_the_other_and_connections_are_refused_between_them() {
        let port = Port::loopback().unwrap();
        for _ in 0..3 {
            let refused = TcpStream::connect(port.address()).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let listener = TcpListener::bind(port.address()).unwrap();
            let _client = TcpStream::connect(port.address()).unwrap();
            listener.accept().unwrap();
        }
    }

    #[test]
    fn a_reserved_port_is_not_free_before_its_reservation_ends() {
        let port = Port::loopback().unwrap();
        let bind = || Socket::new(Domain::IPV4, Type::STREAM, None)?.bind(&port.address().into());
        assert_eq!(bind().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let address = port.address();
        drop(port);
        TcpListener::bind(address).unwrap();
    }
}
