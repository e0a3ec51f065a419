//! Serves the requests of one HTTP connection.

use crate::server::close_reason::CloseReason;
use crate::server::connection::reject::linger;
use crate::server::connection_counter::Permit;
use crate::server::http::endpoint::{HttpState, RequestContext};
use crate::server::http::events;
use crate::server::http::events::StreamStartup;
use crate::server::http::problem::Problem;
use crate::server::http::request_head::{HttpConnectionEnd, RequestHead, RequestReader};
use crate::server::http::response::{encode_last, finish, write_all, write_response};
use crate::server::limits::{LINGER_TIMEOUT, SEARCH_LINES, WEB_BODY_OVERHEAD_BYTES};
use crate::server::rate_limit::RateLimiter;
use crate::server::timeout::timeout;
use futures_lite::FutureExt;
use smol::{Async, Timer};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::panic::AssertUnwindSafe;
use tide::http::{self, Method};

/// Bytes of the longest JSON escape of one byte.
const MAX_ESCAPE_BYTES: usize = 6;

#[derive(Debug)]
pub(super) struct HttpConnection {
    pub(super) state: HttpState,
    pub(super) app: tide::Server<HttpState>,
    pub(super) address: SocketAddr,
}

impl HttpConnection {
    /// Serves the connection to its end. A panic ends this connection only.
    pub(super) async fn serve(self, socket: Async<TcpStream>, permit: Permit) {
        let serving = Box::pin(self.serve_requests(&socket));
        let served = AssertUnwindSafe(serving).catch_unwind().await;
        match served.unwrap_or(Err(CloseReason::Fault.into())) {
            Ok(stream) => {
                stream.run(&self.state, socket, self.address).await;
                self.record_end(CloseReason::Closed);
            }
            Err(end) => {
                self.record_end(end.reason);
                let last = encode_last(end);
                let writing = write_all(&socket, &last, LINGER_TIMEOUT);
                timeout(LINGER_TIMEOUT, writing).await;
                linger(socket).await;
            }
        }
        drop(permit);
    }

    /// Returns the address that the limits count for.
    fn client(&self, head: &RequestHead) -> IpAddr {
        let (proxies, info) = (&self.state.proxies, &head.info);
        proxies.client(self.address.ip(), &info.x_forwarded_for, &info.forwarded)
    }

    fn record_end(&self, reason: CloseReason) {
        let address = self.address;
        self.state.context.metrics.count_web_ended(reason);
        match reason {
            CloseReason::Fault => {
                tracing::error!(%address, %reason, "an HTTP connection failed");
            }
            // Clients decide how often this happens, so it is not logged louder.
            _ => tracing::debug!(%address, %reason, "an HTTP connection ended"),
        }
    }

    /// Answers requests until one starts a live stream.
    async fn serve_requests(
        &self,
        socket: &Async<TcpStream>,
    ) -> Result<StreamStartup, HttpConnectionEnd> {
        let context = &self.state.context;
        let max_message_bytes = context.limits.max_message_bytes;
        let max_body_bytes = max_message_bytes * MAX_ESCAPE_BYTES + WEB_BODY_OVERHEAD_BYTES;
        let mut reader = RequestReader::new(socket, &self.state.limits, max_body_bytes);
        let (quota, mut rate) = (context.quota(), RateLimiter::default());
        loop {
            let head = reader.next_head().await?;
            let (is_head, is_api) = (head.method == Method::Head, head.is_api);
            let end = |reason| HttpConnectionEnd {
                reason,
                is_head,
                is_api,
            };
            let wait = rate.wait(quota, context.now());
            if !wait.is_zero() {
                Timer::after(wait).await;
            }
            let is_search = head.url.query_pairs().any(|(name, _)| name == "q");
            let lines = if is_search { SEARCH_LINES } else { 1 };
            rate.spend(quota, context.now(), lines);
            let body = reader.body(head.body_bytes).await.map_err(end)?;
            let mut refused = head.is_abuse().then(|| {
                let detail = "A page of another site may not use the chat; open its own page";
                Problem::new(403, "foreign-origin", detail)
            });
            if head.is_stream && refused.is_none() {
                match events::open(&self.state, self.client(&head), &head.info).await {
                    Ok(stream) => return Ok(stream),
                    Err(problem) => refused = Some(problem),
                }
            }
            let keep_alive = head.keep_alive;
            let limit = self.state.limits.configured.response_deadline;
            let answering = self.answer(socket, head, body, refused);
            let answered = timeout(limit, answering).await;
            // A client that sends requests without pause must not occupy the thread.
            smol::future::yield_now().await;
            answered
                .unwrap_or(Err(CloseReason::Deadline))
                .map_err(end)?;
            if !keep_alive {
                return Err(end(CloseReason::Closed));
            }
        }
    }

    /// Answers one request, or refuses the live stream that it asks for.
    async fn answer(
        &self,
        socket: &Async<TcpStream>,
        head: RequestHead,
        body: Vec<u8>,
        refused: Option<Problem>,
    ) -> Result<(), CloseReason> {
        let is_head = head.method == Method::Head;
        let path = head.url.path().to_owned();
        let response = match refused {
            Some(problem) => problem.into(),
            None => {
                let address = self.client(&head);
                let mut request = http::Request::new(head.method, head.url);
                request.ext_mut().insert(RequestContext {
                    address,
                    info: head.info,
                    body,
                });
                let answered = self.app.respond(request).await;
                answered.map_err(|_| CloseReason::Fault)?
            }
        };
        let response = finish(response, &path);
        let stall_timeout = self.state.limits.configured.write_stall_timeout;
        write_response(socket, response, is_head, stall_timeout).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::ServerConfig;
    use crate::server::context::ServerContext;
    use crate::server::http::connection_limits::ConnectionLimits;
    use crate::server::http::routes;
    use crate::server::limits::{Limits, WebLimits};
    use std::io::Write;
    use std::net::{Ipv4Addr, Shutdown};
    use std::sync::Arc;
    use std::time::Duration;

    async fn panic(_: tide::Request<HttpState>) -> tide::Result {
        panic!("a fault for this test")
    }

    #[test]
    fn panic_in_a_route_ends_only_its_connection_and_frees_its_permit() {
        let (inbox, _commands) = async_channel::bounded(1);
        let context = ServerContext::for_test(Limits::default(), inbox);
        let limits = Arc::new(ConnectionLimits::new(WebLimits::default(), Vec::new()));
        let page = ServerConfig::default().web.unwrap();
        let state = HttpState::new(context.clone(), limits.clone(), page);
        let mut app = routes::app(state.clone());
        app.at("/fault").get(panic);
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, address) = listener.accept().unwrap();
        let permit = limits.connections.acquire(address.ip()).unwrap();
        client
            .write_all(b"GET /fault HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let connection = HttpConnection {
            state,
            app,
            address,
        };
        smol::block_on(connection.serve(Async::new(socket).unwrap(), permit));
        assert_eq!(std::io::read_to_string(client).unwrap(), "");
        let none_is_open = smol::future::poll_once(limits.connections.wait_for_none());
        assert!(smol::block_on(none_is_open).is_some());
        let text = context.metrics.text(0, Duration::ZERO).unwrap();
        let count = "smolchat_web_ended_total{reason=\"fault\"} 1\n";
        assert!(text.contains(count), "{text}");
    }
}
