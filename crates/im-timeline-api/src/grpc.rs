//! The gRPC face: `timeline.v1.Timeline` with reflection and health.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{interval, sleep};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tonic::{Request, Response, Status};
use tracing::warn;

use crate::{Auth, BODY_LEN_MAX, Call, Entry, GroupSend, HistoryOf, SyncRows, TimelineApi, UserSend};

/// Messages and service, made from `proto/timeline/v1/timeline.proto`.
#[allow(missing_docs, unused_qualifications, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]
pub mod proto {
    tonic::include_proto!("timeline.v1");
}

use proto::timeline_server::{Timeline, TimelineServer};

const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/timeline.descriptors"));

/// Requests of one connection under way at once.
const CONNECTION_REQUESTS_MAX: usize = 256;

/// Connections at once; further ones wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 10_000;

/// Between two looks at whether the service is ready.
const HEALTH_EVERY: Duration = Duration::from_millis(500);

/// Between pings to a caller that says nothing, and how long its answer may take.
const PING_EVERY: Duration = Duration::from_secs(60);
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// After a failed accept, which mostly means that the process has no file left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` resolves, then lets requests under way finish. `is_ready` is what the
/// health service tells.
pub async fn serve(
    listener: TcpListener,
    api: Arc<TimelineApi>,
    auth: Auth,
    is_ready: impl Fn() -> bool + Send + Sync + 'static,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (reporter, health) = tonic_health::server::health_reporter();
    // Before anybody can ask: a service that nobody has looked at yet is known, and not ready.
    reporter.set_not_serving::<TimelineServer<Service>>().await;
    let report = async move {
        let mut ticks = interval(HEALTH_EVERY);
        loop {
            ticks.tick().await;
            if is_ready() {
                reporter.set_serving::<TimelineServer<Service>>().await;
            } else {
                reporter.set_not_serving::<TimelineServer<Service>>().await;
            }
        }
    };
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .build_v1()
        .map_err(io::Error::other)?;
    let timeline = TimelineServer::new(Service { api }).max_decoding_message_size(BODY_LEN_MAX);
    let timeline = InterceptedService::new(timeline, move |request: Request<()>| {
        auth.admit(request.metadata().as_ref())?;
        Ok(request)
    });
    let serving = Server::builder()
        .concurrency_limit_per_connection(CONNECTION_REQUESTS_MAX)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_PATIENCE))
        .add_service(health)
        .add_service(reflection)
        .add_service(timeline)
        .serve_with_incoming_shutdown(incoming(listener), shutdown);
    tokio::select! {
        served = serving => served.map_err(io::Error::other),
        () = report => Ok(()),
    }
}

struct Service {
    api: Arc<TimelineApi>,
}

type Rows = Pin<Box<dyn Stream<Item = Result<proto::SyncMessageReply, Status>> + Send>>;

#[tonic::async_trait]
impl Timeline for Service {
    async fn send(
        &self,
        request: Request<proto::SendMessageRequest>,
    ) -> Result<Response<proto::SendMessageReply>, Status> {
        let proto::SendMessageRequest { from, to, message, idempotency_key } = request.into_inner();
        let sequence = self.api.send(UserSend { from, to, message, idempotency_key: Some(idempotency_key) }).await?;
        Ok(Response::new(proto::SendMessageReply { sequence }))
    }

    async fn send_group(
        &self,
        request: Request<proto::SendGroupRequest>,
    ) -> Result<Response<proto::SendGroupReply>, Status> {
        let proto::SendGroupRequest { group_name, group_members, message, idempotency_key, from } =
            request.into_inner();
        let send = GroupSend {
            group: group_name,
            members: group_members,
            message,
            from: Some(from),
            idempotency_key: Some(idempotency_key),
        };
        self.api.send_group(send).await?;
        Ok(Response::new(proto::SendGroupReply { failed_members: Vec::new() }))
    }

    async fn get_sync_message(
        &self,
        request: Request<proto::SyncMessageRequest>,
    ) -> Result<Response<proto::SyncMessageReply>, Status> {
        let proto::SyncMessageRequest { member, last_read, count } = request.into_inner();
        let call = Call { last_read, count: count.into(), latest: false };
        Ok(Response::new(self.api.sync(&member, call).await?.into()))
    }

    async fn get_single_history_message(
        &self,
        request: Request<proto::GetSingleHistoryMessageRequest>,
    ) -> Result<Response<proto::GetSingleHistoryMessageReply>, Status> {
        let proto::GetSingleHistoryMessageRequest { from, to, last_read, count, latest } = request.into_inner();
        let call = Call { last_read, count: count.into(), latest };
        let rows = self.api.history(HistoryOf::Pair(from, to), call).await?;
        Ok(Response::new(proto::GetSingleHistoryMessageReply { entry_set: entries(rows) }))
    }

    async fn get_group_history_message(
        &self,
        request: Request<proto::GetGroupHistoryMessageRequest>,
    ) -> Result<Response<proto::GetGroupHistoryMessageReply>, Status> {
        let proto::GetGroupHistoryMessageRequest { group, last_read, count, latest } = request.into_inner();
        let call = Call { last_read, count: count.into(), latest };
        let rows = self.api.history(HistoryOf::Group(group), call).await?;
        Ok(Response::new(proto::GetGroupHistoryMessageReply { entry_set: entries(rows) }))
    }

    type StreamSyncMessageStream = Rows;

    async fn stream_sync_message(&self, request: Request<proto::SyncMessageRequest>) -> Result<Response<Rows>, Status> {
        let proto::SyncMessageRequest { member, last_read, count } = request.into_inner();
        let call = Call { last_read, count: count.into(), latest: false };
        let rows = Arc::clone(&self.api).follow(&member, call)?;
        Ok(Response::new(Box::pin(rows.map(|rows| rows.map(Into::into).map_err(Status::from)))))
    }
}

impl From<SyncRows> for proto::SyncMessageReply {
    fn from(rows: SyncRows) -> Self {
        Self { latest_seq: rows.latest, entry_set_last_seq: rows.last, entry_set: entries(rows.entries) }
    }
}

fn entries(rows: Vec<Entry>) -> Vec<proto::TimelineEntry> {
    rows.into_iter().map(|Entry { sequence, message }| proto::TimelineEntry { sequence, message }).collect()
}

/// The listener's connections, never more than [`CONNECTIONS_MAX`] at once.
fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<Held>> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    unfold((listener, places), |(listener, places)| async {
        // The semaphore is never closed, so a place always comes in the end.
        let place = Arc::clone(&places).acquire_owned().await.ok();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Without it an answer only comes later.
                    let _ = stream.set_nodelay(true);
                    return Some((Ok(Held { stream, _place: place }), (listener, places)));
                }
                Err(error) => {
                    warn!(%error, "cannot accept a gRPC connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

/// A connection with its place among the bounded number.
struct Held {
    stream: TcpStream,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connected for Held {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Held {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
