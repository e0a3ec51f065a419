//! The API under `/api/`, except for the live stream. `web/openapi.json` describes it.

use crate::chat::error::{RejectedRequest, RequestError};
use crate::chat::message::Message;
use crate::chat::query::{Query, QueryError};
use crate::chat::request::{Request as ChatRequest, SearchRequest, SendMessage, SendPrivate};
use crate::limits::MAX_QUERY_BYTES;
use crate::protocol::{decode, sse};
use crate::server::command::{BrowserCommand, BrowserError, BrowserReply, BrowserRequest};
use crate::server::http::document_cache::DocumentKind;
use crate::server::http::endpoint::{
    HttpState, RequestContext, RouteResult, request_context, route,
};
use crate::server::http::problem::Problem;
use crate::server::http::response::{JSON, document, shared_document};
use crate::server::limits::WEB_COOKIE_LIFETIME;
use crate::storage::MessagePage;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::json;
use std::net::IpAddr;
use tide::{Request, StatusCode};

/// The paths of the API and their methods.
pub const ROUTES: [(&str, &str); 7] = [
    ("/api/users", "GET, HEAD"),
    ("/api/messages", "GET, HEAD, POST"),
    ("/api/private", "POST"),
    ("/api/session", "POST, DELETE"),
    ("/api/openapi.json", "GET, HEAD"),
    ("/api/events", "GET, HEAD"),
    ("/api/", ""),
];

const OPENAPI: &str = include_str!("../../../web/openapi.json");

/// Name of the session cookie in the description.
const EXAMPLE_COOKIE: &str = "smolchat-8080";

pub(super) fn add_routes(app: &mut tide::Server<HttpState>) {
    app.at("/api/users").get(route(get_users));
    app.at("/api/messages")
        .get(route(get_messages))
        .post(route(send_message));
    app.at("/api/private").post(route(send_private));
    app.at("/api/session")
        .post(route(join))
        .delete(route(leave));
    app.at("/api/openapi.json").get(route(get_description));
}

/// Returns the description with the cookie name of this host and port.
async fn get_description(request: Request<HttpState>) -> RouteResult {
    let cookie = &request_context(&request)?.info.cookie;
    let text = OPENAPI.replace(EXAMPLE_COOKIE, cookie);
    Ok(document(text, JSON))
}

async fn get_users(request: Request<HttpState>) -> RouteResult {
    let state = request.state();
    let snapshot = state.snapshot().await?;
    let make = || sse::users_document(&snapshot.users);
    let users = state
        .documents
        .shared(&snapshot, DocumentKind::Users, make)?;
    let accepts_gzip = request_context(&request)?.info.accepts_gzip;
    Ok(shared_document(users, JSON, accepts_gzip).await)
}

async fn get_messages(request: Request<HttpState>) -> RouteResult {
    let state = request.state();
    let filter = MessageFilter::from_query(&request)?;
    let messages = if filter.is_default() {
        let snapshot = state.snapshot().await?;
        let make = || sse::messages_document(&snapshot.messages, snapshot.older > 0);
        state
            .documents
            .shared(&snapshot, DocumentKind::Messages, make)?
    } else {
        let address = request_context(&request)?.address;
        let found = find(state, address, &filter).await?;
        let found = sse::messages_document(&found.messages, found.has_more);
        state.documents.single(found)?
    };
    let accepts_gzip = request_context(&request)?.info.accepts_gzip;
    Ok(shared_document(messages, JSON, accepts_gzip).await)
}

/// The messages for which a client asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MessageFilter {
    /// Only messages before this event.
    pub(super) before: Option<u64>,
    /// Only messages after this event. Except for a search, the oldest of them come first.
    pub(super) after: Option<u64>,
    pub(super) limit: Option<u64>,
    pub(super) query: Option<String>,
}

impl MessageFilter {
    /// Reads the query parameters of a request.
    pub(super) fn from_query(request: &Request<HttpState>) -> Result<Self, Problem> {
        let mut filter = MessageFilter::default();
        for (name, value) in request.url().query_pairs() {
            let is_new = match &*name {
                "before" => filter.before.replace(number(&name, &value)?).is_none(),
                "after" => filter.after.replace(number(&name, &value)?).is_none(),
                "limit" => filter.limit.replace(number(&name, &value)?).is_none(),
                "q" => filter.query.replace(value.into_owned()).is_none(),
                _ => true,
            };
            if !is_new {
                let detail =
                    format!("The parameter \"{name}\" occurs more than once; send it once");
                return Err(Problem::new(400, "bad-parameter", detail));
            }
        }
        Ok(filter)
    }

    /// Returns whether the messages of a snapshot suffice.
    pub(super) fn is_default(&self) -> bool {
        *self == MessageFilter::default()
    }
}

/// Parses an event number or a count.
pub(super) fn number(name: &str, value: &str) -> Result<u64, Problem> {
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
    // SQLite stores signed numbers.
    let parsed = value
        .parse()
        .ok()
        .filter(|number| *number <= i64::MAX as u64);
    parsed.filter(|_| is_number).ok_or_else(|| {
        let detail = format!("The parameter \"{name}\" is not a whole number of at least 0");
        Problem::new(400, "bad-parameter", detail)
    })
}

/// Returns the messages for a client that pass a filter, oldest first, and whether there are more. The further
/// messages are newer ones if the filter has `after` and no query, and older ones otherwise.
pub(super) async fn find(
    state: &HttpState,
    address: IpAddr,
    filter: &MessageFilter,
) -> Result<MessagePage, Problem> {
    let archive = &state.context.archive;
    let page = decode::history_page(filter.before, filter.limit)?;
    let problem = |error: RejectedRequest| Problem::from(error.error);
    if let Some(query) = &filter.query {
        // The limit counts characters here, as `maxLength` in the description does.
        let query = match query.chars().count() > MAX_QUERY_BYTES {
            true => Err(QueryError::TooLong),
            false => Query::parse(query),
        };
        // An empty form matches nothing.
        if query == Err(QueryError::Empty) {
            return Ok(MessagePage::default());
        }
        let query = query.map_err(RequestError::Query)?;
        let search = SearchRequest { query, page };
        let mut found = archive.search(address, search).await.map_err(problem)?;
        found.messages.reverse();
        if let Some(after) = filter.after {
            retain(&mut found, |message| message.id > after);
        }
        return Ok(found);
    }
    let Some(after) = filter.after else {
        return archive.page(address, page).await.map_err(problem);
    };
    let found = archive.after(address, after, page.limit).await;
    let mut found = found.map_err(problem)?;
    if let Some(before) = page.before {
        retain(&mut found, |message| message.id < before);
    }
    Ok(found)
}

/// Keeps the messages within a bound. If the bound removes one, there are no more within it.
fn retain(found: &mut MessagePage, is_within: impl Fn(&Message) -> bool) {
    let count = found.messages.len();
    found.messages.retain(|message| is_within(message));
    found.has_more &= found.messages.len() == count;
}

/// Returns the client if it may act: a page of this server that sends JSON, unless the page is
/// read-only.
fn authorize(request: &Request<HttpState>) -> Result<&RequestContext, Problem> {
    let context = request_context(request)?;
    let (status, code, detail) = if request.state().web.is_read_only {
        let detail = "This page is read-only; send messages with a chat client";
        (403, "read-only", detail)
    } else if !context.info.is_same_origin {
        let detail = "The request is not from this page; send the Origin of this address";
        (403, "foreign-origin", detail)
    } else if !context.info.has_json {
        let detail = "The content type is not application/json; send JSON with that type";
        (415, "bad-content-type", detail)
    } else {
        return Ok(context);
    };
    Err(Problem::new(status, code, detail))
}

/// Parses a JSON body. `example` is a valid body, for the problem.
fn parse_body<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, Problem> {
    let text = std::str::from_utf8(body).map_err(|_| {
        let detail = "The body is not valid UTF-8; send UTF-8 text";
        Problem::new(400, RequestError::NotUtf8.code(), detail)
    })?;
    serde_json::from_str(text).map_err(|error| {
        let (code, flaw) = match error.classify() {
            Category::Data => ("bad-data", "lacks a field or has a wrong type"),
            _ => (RequestError::NotJson.code(), "is not valid JSON"),
        };
        let detail = format!("The body {flaw}; send an object such as {example}");
        Problem::new(400, code, detail)
    })
}

/// Sends a command of a browser to the broker and waits for the reply.
async fn command(
    request: &Request<HttpState>,
    command: BrowserCommand,
) -> Result<BrowserReply, Problem> {
    let context = request_context(request)?;
    let (sender, receiver) = async_channel::bounded(1);
    let command = BrowserRequest {
        session: context.info.session.clone(),
        address: context.address,
        command,
        reply: sender,
    };
    match request.state().broker.request(command, &receiver).await {
        Ok(BrowserReply::Failed(error)) => Err(error.into()),
        Ok(reply) => Ok(reply),
        Err(_) => Err(Problem::stopping()),
    }
}

/// Converts a request to a command. The broker counts invalid requests too.
fn chat_command(request: Result<ChatRequest, RequestError>) -> BrowserCommand {
    request.map_or_else(BrowserCommand::Rejected, BrowserCommand::Request)
}

#[derive(Deserialize)]
struct JoinBody {
    name: String,
}

async fn join(request: Request<HttpState>) -> RouteResult {
    let context = authorize(&request)?;
    let body: JoinBody = parse_body(&context.body, r#"{"name":"NAME"}"#)?;
    let BrowserReply::Joined {
        name,
        token,
        is_new,
    } = command(&request, BrowserCommand::Join(body.name.into())).await?
    else {
        return Err(BrowserError::NoSession.into());
    };
    let limit = request.state().context.limits.max_message_bytes;
    let secret = token.secret();
    let session = context.info.session.as_ref();
    let known = session.is_some_and(|session| session.secret() == secret);
    let text = json!({ "name": name.as_str(), "known": known, "limits": { "message": limit } });
    let mut response = document(text.to_string(), JSON);
    if is_new {
        response.set_status(StatusCode::Created);
    }
    let lifetime = WEB_COOKIE_LIFETIME.as_secs();
    response.insert_header("set-cookie", context.info.set_cookie(&secret, lifetime));
    Ok(response)
}

async fn leave(request: Request<HttpState>) -> RouteResult {
    let context = authorize(&request)?;
    command(&request, BrowserCommand::Leave).await?;
    let mut response = document("{}", JSON);
    response.insert_header("set-cookie", context.info.set_cookie("", 0));
    Ok(response)
}

#[derive(Deserialize)]
struct MessageBody {
    message: String,
    nonce: Option<String>,
    #[serde(default)]
    action: bool,
}

async fn send_message(request: Request<HttpState>) -> RouteResult {
    let context = authorize(&request)?;
    let body: MessageBody = parse_body(&context.body, r#"{"message":"TEXT","nonce":"N"}"#)?;
    let max_bytes = request.state().context.limits.max_message_bytes;
    let chat_request = || {
        Ok(ChatRequest::SendMessage(SendMessage {
            text: decode::message_text(&body.message, max_bytes)?,
            action: body.action,
            nonce: decode::nonce(body.nonce.as_deref())?,
        }))
    };
    let reply = command(&request, chat_command(chat_request())).await?;
    let BrowserReply::Done(id) = reply else {
        return Err(BrowserError::NoSession.into());
    };
    let text = json!({ "id": id, "nonce": body.nonce });
    let mut response = document(text.to_string(), JSON);
    response.set_status(StatusCode::Created);
    if let Some(id) = id {
        response.insert_header("location", format!("/m/{id}"));
    }
    Ok(response)
}

#[derive(Deserialize)]
struct PrivateBody {
    target: String,
    message: String,
    nonce: Option<String>,
}

async fn send_private(request: Request<HttpState>) -> RouteResult {
    let context = authorize(&request)?;
    let example = r#"{"target":"NAME","message":"TEXT","nonce":"N"}"#;
    let body: PrivateBody = parse_body(&context.body, example)?;
    let max_bytes = request.state().context.limits.max_message_bytes;
    let chat_request = || {
        Ok(ChatRequest::Private(SendPrivate {
            target: body.target.into(),
            text: decode::message_text(&body.message, max_bytes)?,
            nonce: decode::nonce(body.nonce.as_deref())?,
        }))
    };
    command(&request, chat_command(chat_request())).await?;
    Ok(document("{}", JSON))
}
