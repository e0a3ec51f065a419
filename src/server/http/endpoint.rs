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
use crate::server::http::response::problem_response;
use crate::server::limits::WEB_MAX_DOCUMENT_BYTES;
use std::net::IpAddr;
use std::sync::Arc;
use tide::{Endpoint, Request, Response};

/// State that all requests share.
#[derive(Clone, Debug)]
pub(crate) struct HttpState {
    pub(crate) broker: BrokerHandle,
    pub(crate) context: Arc<ServerContext>,
    pub(crate) assets: Arc<Assets>,
    pub(crate) limits: Arc<ConnectionLimits>,
    pub(crate) documents: Arc<DocumentCache>,
    pub(crate) web: Arc<WebConfig>,
}

impl HttpState {
    /// Creates the state of a server that has not served a request.
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
            web: Arc::new(web),
        }
    }

    /// Returns the room at this moment.
    pub(crate) async fn snapshot(&self) -> Result<Arc<Snapshot>, Problem> {
        let snapshot = self.broker.snapshot().await;
        snapshot.map_err(|_| Problem::stopping())
    }
}

/// The client and body of a request, as the routes see them.
#[derive(Clone, Debug)]
pub(crate) struct RequestContext {
    /// Address of the client.
    pub(crate) address: IpAddr,
    /// What the header fields say about the client.
    pub(crate) info: RequestInfo,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// Returns the client and body of a request.
///
/// # Errors
/// The connection did not attach them, which is a bug.
pub(crate) fn request_context(request: &Request<HttpState>) -> Result<&RequestContext, Problem> {
    let bug = || Problem::new(500, "fault", "The request could not be answered");
    request.ext::<RequestContext>().ok_or_else(bug)
}

/// What a route returns. A problem becomes a document for the API and a sentence for browsers.
pub(crate) type RouteResult = Result<Response, Problem>;

/// Turns a function into an endpoint.
pub(crate) fn route<F, Answer>(function: F, is_api: bool) -> impl Endpoint<HttpState>
where
    F: Fn(Request<HttpState>) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = RouteResult> + Send + 'static,
{
    move |request| {
        let answer = function(request);
        async move {
            let problem = |problem| problem_response(&problem, is_api);
            Ok(answer.await.unwrap_or_else(problem))
        }
    }
}
