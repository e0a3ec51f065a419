//! The HTTP server: the web page, the API and the metrics.
//!
//! A request takes this way: `connection` → `request_head` → `routes` or `api` → `response`. A
//! live stream leaves it in `events`, which hands the socket to the broker.

mod allowed_hosts;
pub mod api;
mod assets;
mod connection;
pub(crate) mod connection_limits;
mod document_cache;
pub(crate) mod endpoint;
mod events;
mod html;
mod problem;
mod request_head;
mod request_info;
mod response;
mod routes;

use crate::server::close_reason::CloseReason;
use crate::server::connection::reject::Rejector;
use crate::server::context::SharedExecutor;
use crate::server::http::connection::HttpConnection;
use crate::server::http::endpoint::HttpState;
use crate::server::listener::Bound;
use crate::server::listener::accept::{Acceptor, RejectNotice, ReserveDescriptor};
use std::future::{pending, ready};
use std::net::SocketAddr;

/// Accepts HTTP connections until this future is dropped. Their tasks have limits in number and
/// time, so none of them is awaited.
pub(crate) async fn serve(
    bound: Bound,
    reserve: ReserveDescriptor,
    state: HttpState,
    executor: SharedExecutor,
) {
    let context = state.context.clone();
    let reason = CloseReason::NoDescriptor;
    let notice = RejectNotice {
        text: response::encode_last(reason.into()),
        count: Box::new(move || context.metrics.count_web_ended(reason)),
    };
    let acceptor = Acceptor::new(bound.listener, reserve, notice);
    let rejector = Rejector::http(&state.context, &state.limits.closing, executor.clone());
    let app = routes::app(state.clone());
    let admit = |socket, address: SocketAddr| {
        // A trusted proxy opens connections for all its clients.
        let counted = Some(address.ip()).filter(|peer| !state.proxies.contains(*peer));
        match state.limits.connections.acquire(counted) {
            Ok(permit) => {
                let (state, app) = (state.clone(), app.clone());
                let connection = HttpConnection {
                    state,
                    app,
                    address,
                };
                executor.spawn(connection.serve(socket, permit)).detach();
            }
            Err(limit) => {
                let reason = CloseReason::from(limit);
                let text = response::encode_last(reason.into());
                rejector.reject(socket, address, reason, &text);
            }
        }
        ready(())
    };
    acceptor.accept_until(pending(), admit).await;
}
