//! The same calls over gRPC, streams, health and reflection.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{World, world};
use im_timeline_api::grpc::proto::timeline_client::TimelineClient;
use im_timeline_api::grpc::proto::{
    GetGroupHistoryMessageRequest, GetSingleHistoryMessageRequest, SendGroupRequest, SendMessageRequest,
    SyncMessageRequest, TimelineEntry,
};
use im_timeline_api::{Auth, grpc};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt as _;

const PATIENCE: Duration = Duration::from_secs(20);

struct Served {
    world: World,
    channel: Channel,
    ready: Arc<AtomicBool>,
    serving: JoinHandle<std::io::Result<()>>,
}

async fn serve(auth: Auth) -> Served {
    let world = world();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ready = Arc::new(AtomicBool::new(true));
    let (api, stop, is_ready) = (Arc::clone(&world.api), world.stop.clone(), Arc::clone(&ready));
    let serving = tokio::spawn(async move {
        let is_ready = move || is_ready.load(Ordering::SeqCst);
        grpc::serve(listener, api, auth, is_ready, stop.cancelled_owned()).await
    });
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    Served { world, channel, ready, serving }
}

fn message(from: &str, to: &str, text: &str) -> SendMessageRequest {
    let message = format!("{{\"text\":\"{text}\"}}");
    SendMessageRequest { from: from.into(), to: to.into(), message, idempotency_key: String::new() }
}

fn row(sequence: i64, text: &str) -> TimelineEntry {
    TimelineEntry { sequence, message: format!("{{\"text\":\"{text}\"}}") }
}

#[tokio::test]
async fn messages_are_sent_and_read_back() {
    let served = serve(Auth::Open).await;
    let mut client = TimelineClient::new(served.channel.clone());
    for (from, to, text, place) in [("a", "b", "one", 1), ("b", "a", "two", 2), ("c", "b", "three", 3)] {
        assert_eq!(client.send(message(from, to, text)).await.unwrap().into_inner().sequence, place);
    }
    let group = SendGroupRequest {
        group_name: "g".into(),
        group_members: vec!["a".into(), "b".into()],
        message: "{\"text\":\"four\"}".into(),
        idempotency_key: "once".into(),
        from: "b".into(),
    };
    for _ in 0..2 {
        assert!(client.send_group(group.clone()).await.unwrap().into_inner().failed_members.is_empty());
    }
    let sync = SyncMessageRequest { member: "b".into(), last_read: 1, count: 2 };
    let rows = client.get_sync_message(sync).await.unwrap().into_inner();
    assert_eq!((rows.latest_seq, rows.entry_set_last_seq), (4, 3));
    assert_eq!(rows.entry_set, [row(2, "two"), row(3, "three")]);
    let pair = GetSingleHistoryMessageRequest { from: "b".into(), to: "a".into(), ..Default::default() };
    let rows = client.get_single_history_message(pair).await.unwrap().into_inner();
    assert_eq!(rows.entry_set, [row(1, "one"), row(2, "two")]);
    let group = GetGroupHistoryMessageRequest { group: "g".into(), latest: true, ..Default::default() };
    let rows = client.get_group_history_message(group).await.unwrap().into_inner();
    assert_eq!(rows.entry_set, [row(1, "four")]);
}

#[tokio::test]
async fn errors_carry_their_reason() {
    let served = serve(Auth::Open).await;
    let mut client = TimelineClient::new(served.channel.clone());
    let status = client.send(message("a:b", "b", "x")).await.unwrap_err();
    let info = status.get_details_error_info().unwrap();
    assert_eq!((status.code(), info.reason.as_str()), (Code::InvalidArgument, "TIMELINE_INVALID_PARAM"));
    let sync = SyncMessageRequest { member: "b".into(), last_read: -1, count: 0 };
    assert_eq!(client.get_sync_message(sync).await.unwrap_err().code(), Code::InvalidArgument);
    let keyed = |text| SendMessageRequest { idempotency_key: "k".into(), ..message("a", "b", text) };
    client.send(keyed("x")).await.unwrap();
    assert_eq!(client.send(keyed("y")).await.unwrap_err().code(), Code::AlreadyExists);
    let huge = SendMessageRequest { message: "x".repeat(300 * 1024), ..message("a", "b", "x") };
    assert_eq!(client.send(huge).await.unwrap_err().code(), Code::OutOfRange);
    served.world.store.close().await;
    let status = client.send(message("a", "b", "x")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_details_retry_info().is_some());
}

#[tokio::test]
async fn a_stream_brings_what_is_there_and_then_what_comes() {
    let served = serve(Auth::Open).await;
    let mut client = TimelineClient::new(served.channel.clone());
    for n in 1..=3 {
        client.send(message("a", "b", &n.to_string())).await.unwrap();
    }
    let sync = SyncMessageRequest { member: "b".into(), last_read: 0, count: 2 };
    let mut rows = client.stream_sync_message(sync).await.unwrap().into_inner();
    let mut next = async || timeout(PATIENCE, rows.message()).await.unwrap().unwrap();
    assert_eq!(next().await.unwrap().entry_set, [row(1, "1"), row(2, "2")]);
    assert_eq!(next().await.unwrap().entry_set, [row(3, "3")]);
    for n in 4..=20 {
        client.send(message("a", "b", &n.to_string())).await.unwrap();
        assert_eq!(next().await.unwrap().entry_set, [row(n, &n.to_string())]);
    }
    served.world.stop.cancel();
    assert!(next().await.is_none(), "a server that stops ends its streams");
    timeout(PATIENCE, served.serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn health_follows_readiness() {
    let served = serve(Auth::Open).await;
    let mut health = HealthClient::new(served.channel.clone());
    let request = HealthCheckRequest { service: "timeline.v1.Timeline".into() };
    let mut statuses = health.watch(request).await.unwrap().into_inner();
    let mut until = async |wanted: ServingStatus| loop {
        let status: HealthCheckResponse =
            timeout(PATIENCE, statuses.message()).await.expect("no such status comes").unwrap().unwrap();
        if status.status() == wanted {
            return;
        }
    };
    until(ServingStatus::Serving).await;
    served.ready.store(false, Ordering::SeqCst);
    until(ServingStatus::NotServing).await;
}

#[tokio::test]
async fn the_definition_can_be_asked_for() {
    let served = serve(Auth::Open).await;
    let mut reflection = ServerReflectionClient::new(served.channel.clone());
    let asked = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let asked = futures_util::stream::iter([asked]);
    let mut answers = reflection.server_reflection_info(asked).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(services) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"timeline.v1.Timeline".to_owned()), "{names:?}");
}

#[tokio::test]
async fn without_a_token_nothing_is_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let token = "t".repeat(32);
    std::fs::write(file.path(), &token).unwrap();
    let served = serve(Auth::from_file(file.path()).unwrap()).await;
    let mut client = TimelineClient::new(served.channel.clone());
    let sync = || SyncMessageRequest { member: "b".into(), last_read: 0, count: 0 };
    assert_eq!(client.get_sync_message(sync()).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(client.stream_sync_message(sync()).await.unwrap_err().code(), Code::Unauthenticated);
    for (name, value) in [("authorization", format!("Bearer {token}")), ("x-api-key", token)] {
        let mut request = Request::new(sync());
        request.metadata_mut().insert(name, value.parse().unwrap());
        client.get_sync_message(request).await.unwrap();
    }
}
