//! Addresses, taken at once and listened on later: a port that is taken shows at the start, and until the node can do
//! its work a client's connection is refused, which every load balancer understands.
use super::Error;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted: all players that come back at once after an outage, as far as the system
/// allows (net.core.somaxconn).
const BACKLOG: u32 = 4_096;

/// An address of ours.
pub struct Address {
    socket: TcpSocket,
    address: SocketAddr,
    option: &'static str,
}

impl Address {
    /// Takes it; `option` says what sets it. Port 0 becomes a free one. (One who listens there already is
    /// noticed here; of two who both wait for Kafka before they listen, the second at [`Address::listen`].)
    pub fn take(wanted: SocketAddr, option: &'static str) -> Result<Address, Error> {
        let take = || {
            let socket = if wanted.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // A restart must get the ports that its predecessor's last connections still hold.
            socket.set_reuseaddr(true)?;
            socket.bind(wanted)?;
            let address = socket.local_addr()?;
            Ok(Address { socket, address, option })
        };
        take().map_err(|reason| Error::Listen { address: wanted, option, reason })
    }

    /// What it came to.
    pub fn get(&self) -> SocketAddr {
        self.address
    }

    /// From now on connections are taken.
    pub fn listen(self) -> Result<TcpListener, Error> {
        let Address { socket, address, option } = self;
        socket.listen(BACKLOG).map_err(|reason| Error::Listen { address, option, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn an_address_that_is_taken_refuses_connections_until_it_is_listened_on() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let taken = Address::take(any, "--listen").unwrap();
        let address = taken.get();
        assert!(TcpStream::connect(address).await.is_err());
        let _listener = taken.listen().unwrap();
        TcpStream::connect(address).await.unwrap();
        let refused = Address::take(address, "--listen").map(|other| other.listen());
        assert!(matches!(refused, Err(Error::Listen { option: "--listen", .. })));
    }
}
