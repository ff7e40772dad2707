//! Tells when the body of a request is there.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;

/// A body that drops its half of a channel when it has come to its end, or when nobody wants the rest.
struct Watched {
    body: Incoming,
    unfinished: Option<oneshot::Sender<()>>,
}

/// The request with its body watched, and what ends when the body does.
pub(super) fn watch(request: Request<Incoming>) -> (Request, oneshot::Receiver<()>) {
    let (unfinished, arrived) = oneshot::channel();
    let request = request.map(|body| {
        let unfinished = (!body.is_end_stream()).then_some(unfinished);
        Body::new(Watched { body, unfinished })
    });
    (request, arrived)
}

impl hyper::body::Body for Watched {
    type Data = <Incoming as hyper::body::Body>::Data;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) || self.body.is_end_stream() {
            self.unfinished = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
