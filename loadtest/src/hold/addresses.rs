//! Where loopback clients dial from. A TCP connection is told apart by both its addresses and both its
//! ports, and the system gives out some 28,000 ports per address; so clients get addresses of their
//! own in 127.0.0.0/8, all of which every Linux machine has. A gate also sees what it would see in
//! production: many addresses with a few connections each.

use std::net::{IpAddr, Ipv4Addr};

/// Clients that share an address: as many as a large office, and far below the ports of a pair.
pub(crate) const CLIENTS_PER_ADDRESS: u32 = 50;

/// Addresses from here on; below are those that servers listen on.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
/// As many as stay within 127.0.0.0/8, which is far more than a machine has memory for connections.
const ADDRESSES_MAX: u32 = 0xfd_0000;

/// How many addresses so many clients get.
pub(crate) fn count_for(clients: u32) -> u32 {
    clients.div_ceil(CLIENTS_PER_ADDRESS).clamp(1, ADDRESSES_MAX)
}

/// The address of a client. Neighbours in number have different ones, so that no address dials in bursts.
pub(crate) fn of_client(client: u32, addresses: u32) -> Option<IpAddr> {
    let place = client.checked_rem(addresses)?;
    Some(Ipv4Addr::from(u32::from(FIRST) + place).into())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn clients_are_spread_evenly_over_loopback_addresses() {
        let (clients, mut seen) = (10_000, HashMap::new());
        let addresses = count_for(clients);
        for client in 0..clients {
            let address = of_client(client, addresses).unwrap_or_else(|| panic!("client {client} has none"));
            assert!(address.is_loopback());
            *seen.entry(address).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 200);
        assert!(seen.values().all(|&count| count == CLIENTS_PER_ADDRESS), "{seen:?}");
    }

    #[test]
    fn without_addresses_the_system_chooses() {
        assert_eq!(of_client(7, 0), None);
    }

    #[test]
    fn the_last_address_is_a_loopback_address() {
        let last = of_client(ADDRESSES_MAX - 1, ADDRESSES_MAX);
        assert!(last.is_some_and(|address| address.is_loopback()), "{last:?}");
    }
}
