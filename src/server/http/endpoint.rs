//! What all routes share: the state of the server, the context of a request, and the result.

use crate::chat::room::snapshot::Snapshot;
use crate::server::broker::handle::BrokerHandle;
use crate::server::config::WebConfig;
use crate::server::context::ServerContext;
use crate::server::http::assets::Assets;
use crate::server::http::connection_limits::ConnectionLimits;
use crate::server::http::document_cache::DocumentCache;
use crate::server::http::problem::Problem;
use crate::server::http::request_info::RequestInfo;
use crate::server::limits::WEB_MAX_DOCUMENT_BYTES;
use crate::server::network::TrustedProxies;
use std::net::IpAddr;
use std::sync::Arc;
use tide::{Endpoint, Request, Response};

/// State that all requests share.
#[derive(Clone, Debug)]
pub(crate) struct HttpState {
    pub(super) broker: BrokerHandle,
    pub(super) context: Arc<ServerContext>,
    pub(super) assets: Arc<Assets>,
    pub(super) limits: Arc<ConnectionLimits>,
    pub(super) documents: Arc<DocumentCache>,
    pub(super) web: Arc<WebConfig>,
    pub(super) proxies: Arc<TrustedProxies>,
}

impl HttpState {
    pub(crate) fn new(
        context: Arc<ServerContext>,
        limits: Arc<ConnectionLimits>,
        web: WebConfig,
    ) -> Self {
        HttpState {
            broker: BrokerHandle::new(context.inbox.clone()),
            context,
            assets: Arc::new(Assets::prepare()),
            limits,
            documents: Arc::new(DocumentCache::new(WEB_MAX_DOCUMENT_BYTES)),
            proxies: Arc::new(TrustedProxies::new(web.trusted_proxies.clone())),
            web: Arc::new(web),
        }
    }

    /// Returns the room at this moment.
    pub(super) async fn snapshot(&self) -> Result<Arc<Snapshot>, Problem> {
        let subscription = self.broker.subscribe().await;
        let snapshot = subscription.map(|subscription| subscription.snapshot);
        snapshot.map_err(|_| Problem::stopping())
    }
}

/// The client and body of a request, as the routes see them.
#[derive(Clone, Debug)]
pub(super) struct RequestContext {
    pub(super) address: IpAddr,
    pub(super) info: RequestInfo,
    pub(super) body: Vec<u8>,
}

/// Returns the client and body of a request.
pub(super) fn request_context(request: &Request<HttpState>) -> Result<&RequestContext, Problem> {
    // The connection attaches them to every request.
    let bug = || Problem::new(500, "fault", "The request could not be answered");
    request.ext::<RequestContext>().ok_or_else(bug)
}

pub(super) type RouteResult = Result<Response, Problem>;

/// Turns a function into an endpoint.
pub(super) fn route<F, Answer>(function: F) -> impl Endpoint<HttpState>
where
    F: Fn(Request<HttpState>) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = RouteResult> + Send + 'static,
{
    move |request| {
        let answer = function(request);
        async move { Ok(answer.await.unwrap_or_else(Response::from)) }
    }
}
