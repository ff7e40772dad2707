//! Where Redis is, in one address, and how it is connected to.
//!
//! | address | what is there |
//! |---|---|
//! | `redis://host:port/number` | one server |
//! | `redis+sentinel://host:port,host:port/name` | sentinels that know who is master of that name |
//! | `redis+cluster://host:port,host:port` | some nodes of a cluster |
//!
//! `rediss` in place of `redis` asks for TLS everywhere, checked against the system's authorities.
//! `user:password@` goes before the hosts, percent-encoded; sentinels themselves are not given it.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, RedisResult, TlsMode};

use crate::hints::ASK_MAX;

/// How long making a connection may take.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(1);

/// What sentinels call the master where the address does not say.
const MASTER_DEFAULT: &str = "mymaster";

/// Where Redis is.
pub(crate) enum Place {
    Single(Box<Client>),
    Sentinel(Box<SentinelClient>),
    Cluster(Box<ClusterClient>),
}

#[derive(Clone)]
pub(crate) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(crate) async fn query<T: redis::FromRedisValue>(&mut self, command: &redis::Cmd) -> RedisResult<T> {
        match self {
            Self::Single(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

/// An address in its parts.
#[derive(Debug, PartialEq, Eq)]
struct Address<'a> {
    /// `redis` or `rediss`.
    scheme: &'a str,
    kind: Kind,
    /// With the `@` behind them, or empty.
    credentials: &'a str,
    hosts: Vec<&'a str>,
    /// Behind the hosts, without the slash.
    path: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sentinel,
    Cluster,
}

impl<'a> Address<'a> {
    /// The parts of an address of several hosts; `None` for any other, which the driver reads.
    fn parse(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (scheme, kind) = match scheme.split_once('+')? {
            (scheme @ ("redis" | "rediss"), "sentinel") => (scheme, Kind::Sentinel),
            (scheme @ ("redis" | "rediss"), "cluster") => (scheme, Kind::Cluster),
            _ => return None,
        };
        // Within credentials an `@` is percent-encoded, but people forget it.
        let (credentials, rest) = rest.split_at(rest.rfind('@').map_or(0, |at| at + 1));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        Some(Self { scheme, kind, credentials, hosts: hosts.split(',').collect(), path })
    }

    fn node(&self, host: &str) -> String {
        format!("{}://{}{host}", self.scheme, self.credentials)
    }
}

impl Place {
    pub(crate) fn parse(url: &str) -> RedisResult<Self> {
        let Some(address) = Address::parse(url) else { return Ok(Self::Single(Box::new(Client::open(url)?))) };
        match address.kind {
            Kind::Sentinel => {
                let sentinels = address.hosts.iter().map(|host| format!("{}://{host}", address.scheme)).collect();
                // Only what it says of credentials is used; sentinels say where the master is.
                let master = address.node(address.hosts[0]).into_connection_info()?;
                let mut node =
                    SentinelNodeConnectionInfo::default().set_redis_connection_info(master.redis_settings().clone());
                if address.scheme == "rediss" {
                    node = node.set_tls_mode(TlsMode::Secure);
                }
                let name = if address.path.is_empty() { MASTER_DEFAULT } else { address.path };
                let client = SentinelClient::build(sentinels, name, Some(node), SentinelServerType::Master)?;
                Ok(Self::Sentinel(Box::new(client)))
            }
            Kind::Cluster => {
                let nodes: Vec<String> = address.hosts.iter().map(|host| address.node(host)).collect();
                let builder = ClusterClient::builder(nodes);
                let client = builder.connection_timeout(CONNECT_MAX).response_timeout(ASK_MAX).build()?;
                Ok(Self::Cluster(Box::new(client)))
            }
        }
    }

    /// A connection, and the address that it goes to.
    pub(crate) async fn connect(&mut self) -> RedisResult<(Connection, String)> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_MAX)).set_response_timeout(Some(ASK_MAX));
        let client = match self {
            Self::Cluster(client) => {
                return Ok((Connection::Cluster(client.get_async_connection().await?), String::new()));
            }
            Self::Single(client) => Client::clone(client),
            Self::Sentinel(sentinel) => sentinel.async_get_client().await?,
        };
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok((Connection::Single(connection), client.get_connection_info().addr().to_string()))
    }

    /// Where Sentinel says that the master is; `None` where nobody moves it, or nobody can say.
    pub(crate) async fn address(&mut self) -> Option<String> {
        let Self::Sentinel(sentinel) = self else { return None };
        let client = tokio::time::timeout(CONNECT_MAX, sentinel.async_get_client()).await.ok()?.ok()?;
        Some(client.get_connection_info().addr().to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn addresses_of_several_hosts() {
        let parsed = Address::parse("rediss+sentinel://ann:p%40ss@a:1,b:2/im").unwrap();
        let expected = Address {
            scheme: "rediss",
            kind: Kind::Sentinel,
            credentials: "ann:p%40ss@",
            hosts: vec!["a:1", "b:2"],
            path: "im",
        };
        assert_eq!(parsed, expected);
        assert_eq!(parsed.node("b:2"), "rediss://ann:p%40ss@b:2");
        let parsed = Address::parse("redis+cluster://a:1,b:2").unwrap();
        assert_eq!(
            (parsed.kind, parsed.credentials, parsed.hosts, parsed.path),
            (Kind::Cluster, "", vec!["a:1", "b:2"], "")
        );
        for other in ["redis://a:1/0", "rediss://a:1", "http+sentinel://a", "a:1", "redis+x://a"] {
            assert_eq!(Address::parse(other), None, "{other}");
        }
    }

    #[test]
    fn every_kind_is_taken_and_others_are_not() {
        assert!(matches!(Place::parse("redis://:secret@a:1/2").unwrap(), Place::Single(_)));
        assert!(matches!(Place::parse("rediss://a:1").unwrap(), Place::Single(_)));
        assert!(matches!(Place::parse("redis+sentinel://:secret@a:1,b:2/im").unwrap(), Place::Sentinel(_)));
        assert!(matches!(Place::parse("rediss+cluster://ann:secret@a:1,b:2").unwrap(), Place::Cluster(_)));
        for bad in ["http://a", "redis+sentinel://", "redis+cluster://a:1,:secret@", "redis+x://a"] {
            let refused = Place::parse(bad).err().map(|error| error.to_string());
            assert!(refused.as_ref().is_some_and(|why| !why.contains("secret")), "{bad}: {refused:?}");
        }
    }
}
