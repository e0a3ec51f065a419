//! The API: what programs and the page's script ask for.
//!
//! What lives here: the routes under `/api/` but the live stream, from the words of a request to
//! what the broker or the past is asked, and back. `web/openapi.json` describes them, and a test
//! holds it against this file. It must never decide what may be said or who may be called what:
//! that is the room's.

use crate::chat::error::{RejectedRequest, RequestError};
use crate::chat::message::Message;
use crate::chat::query::{Query, QueryError};
use crate::chat::request::{
    HistoryPage, Request as Asked, SearchRequest, SendMessage, SendPrivate,
};
use crate::limits::{DEFAULT_PAGE_MESSAGES, MAX_QUERY_BYTES};
use crate::protocol::decode;
use crate::protocol::sse;
use crate::server::command::{BrowserCommand, BrowserError, BrowserReply, BrowserRequest};
use crate::server::http::problem::{PROBLEM_JSON, Problem};
use crate::server::http::{HttpState, RequestContext, document, overloaded, shared_document};
use crate::server::limits::WEB_COOKIE_LIFETIME;
use crate::storage::MessagePage;
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::OnceLock;
use tide::{Request, Response, StatusCode};

/// What a route answers, or why it does not do what it is asked for.
type Answered = Result<Response, Problem>;

/// The routes of the API and their methods.
pub const ROUTES: [(&str, &str); 7] = [
    ("/api/users", "GET, HEAD"),
    ("/api/messages", "GET, HEAD, POST"),
    ("/api/private", "POST"),
    ("/api/session", "POST, DELETE"),
    ("/api/openapi.json", "GET, HEAD"),
    ("/api/events", "GET, HEAD"),
    ("/api/", ""),
];

/// The description of the API.
const OPENAPI: &str = include_str!("../../../web/openapi.json");

/// How it calls the session's cookie.
const EXAMPLE_COOKIE: &str = "smolchat-8080";

/// Adds the routes.
pub fn add_to(app: &mut tide::Server<HttpState>) {
    app.at("/api/users")
        .get(|request| answer(request, Route::Users));
    app.at("/api/messages")
        .get(|request| answer(request, Route::Messages));
    app.at("/api/messages")
        .post(|request| answer(request, Route::Say));
    app.at("/api/private")
        .post(|request| answer(request, Route::Whisper));
    app.at("/api/session")
        .post(|request| answer(request, Route::Join));
    app.at("/api/session")
        .delete(|request| answer(request, Route::Leave));
    app.at("/api/openapi.json")
        .get(|request| answer(request, Route::Description));
}

/// What is asked for.
#[derive(Clone, Copy)]
enum Route {
    Users,
    Messages,
    Say,
    Whisper,
    Join,
    Leave,
    Description,
}

async fn answer(request: Request<HttpState>, route: Route) -> tide::Result {
    let answered = match route {
        Route::Users => users(&request).await,
        Route::Messages => messages(&request).await,
        Route::Say => say(&request).await,
        Route::Whisper => whisper(&request).await,
        Route::Join => join(&request).await,
        Route::Leave => leave(&request).await,
        Route::Description => Ok(description(&request)),
    };
    Ok(answered.unwrap_or_else(|problem| problem_response(&problem)))
}

/// The description, with the cookie's name as it is under the address that was asked.
fn description(request: &Request<HttpState>) -> Response {
    let ask = request.ext::<RequestContext>();
    let name = ask.map_or(EXAMPLE_COOKIE, |ask| &ask.caller.cookie);
    document(OPENAPI.replace(EXAMPLE_COOKIE, name), "application/json")
}

/// A problem as an answer.
pub fn problem_response(problem: &Problem) -> Response {
    let mut response = document(problem.json(), PROBLEM_JSON);
    let status = StatusCode::try_from(problem.status);
    response.set_status(status.unwrap_or(StatusCode::InternalServerError));
    if let Some(seconds) = problem.retry_after_seconds() {
        response.insert_header("retry-after", seconds.to_string());
    }
    response
}

// Reading

async fn users(request: &Request<HttpState>) -> Answered {
    let site = request.state();
    let snapshot = site
        .broker
        .snapshot()
        .await
        .map_err(|_| Problem::stopping())?;
    let make = || sse::users_document(&snapshot);
    let users = site.budget.document(&snapshot.users_document, make);
    Ok(shared_document(
        users.ok_or_else(overloaded)?,
        "application/json",
    ))
}

async fn messages(request: &Request<HttpState>) -> Answered {
    let site = request.state();
    let wanted = Wanted::read(request)?;
    if wanted.is_plain() {
        let snapshot = site
            .broker
            .snapshot()
            .await
            .map_err(|_| Problem::stopping())?;
        let make = || sse::messages_document(&snapshot.messages, snapshot.older > 0);
        let messages = site.budget.document(&snapshot.messages_document, make);
        return Ok(shared_document(
            messages.ok_or_else(overloaded)?,
            "application/json",
        ));
    }
    let found = find(site, &wanted).await?;
    let make = || sse::messages_document(&found.messages, found.has_more);
    let messages = site.budget.document(&OnceLock::new(), make);
    Ok(shared_document(
        messages.ok_or_else(overloaded)?,
        "application/json",
    ))
}

/// Which messages are asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only those before this event.
    pub before: Option<u64>,
    /// Only those after this event, and, but for a search, those next to it first.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: Option<u64>,
    /// Only those that match this.
    pub query: Option<String>,
}

impl Wanted {
    /// Reads the parameters of a request.
    ///
    /// # Errors
    /// One of them is none, or stands twice.
    pub fn read(request: &Request<HttpState>) -> Result<Self, Problem> {
        let mut wanted = Wanted::default();
        for (name, value) in request.url().query_pairs() {
            let is_new = match &*name {
                "before" => wanted.before.replace(number(&name, &value)?).is_none(),
                "after" => wanted.after.replace(number(&name, &value)?).is_none(),
                "limit" => wanted.limit.replace(number(&name, &value)?).is_none(),
                "q" => wanted.query.replace(value.into_owned()).is_none(),
                _ => true,
            };
            if !is_new {
                let detail =
                    format!("The parameter \"{name}\" stands more than once; send it once");
                return Err(Problem::new(400, "bad-parameter", detail));
            }
        }
        Ok(wanted)
    }

    /// Whether nothing is asked for but what is kept at hand.
    pub fn is_plain(&self) -> bool {
        *self == Wanted::default()
    }
}

/// The number of an event or of messages.
fn number(name: &str, value: &str) -> Result<u64, Problem> {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    // As far as the numbers of a store go.
    let parsed = value.parse::<i64>().ok().filter(|_| is_number);
    parsed
        .and_then(|number| u64::try_from(number).ok())
        .ok_or_else(|| {
            let detail = format!("The parameter \"{name}\" is not a whole number from 0 on");
            Problem::new(400, "bad-parameter", detail)
        })
}

/// Returns the messages that are wanted, oldest first. `has_more` means newer ones if `after` alone
/// is given, else older ones.
///
/// # Errors
/// A parameter is out of range, or the messages cannot be read.
pub(crate) async fn find(site: &HttpState, wanted: &Wanted) -> Result<MessagePage, Problem> {
    let archive = &site.context.archive;
    let page = decode::history_page(wanted.before, wanted.limit).map_err(Problem::from)?;
    let problem = |refused: RejectedRequest| Problem::from(refused.error);
    if let Some(query) = &wanted.query {
        let search = match search(query, page) {
            // An empty form, or one with signs alone, finds nothing.
            Err(RequestError::Query(QueryError::Empty)) => return Ok(MessagePage::default()),
            search => search.map_err(Problem::from)?,
        };
        let mut found = archive.search(search).await.map_err(problem)?;
        found.messages.reverse();
        if let Some(after) = wanted.after {
            retain(&mut found, |message| message.id > after);
        }
        return Ok(found);
    }
    let Some(after) = wanted.after else {
        return archive.page(page).await.map_err(problem);
    };
    let mut found = archive.after(after, page.limit).await.map_err(problem)?;
    if let Some(before) = page.before {
        retain(&mut found, |message| message.id < before);
    }
    Ok(found)
}

/// Keeps the messages within a bound; beyond a bound that cuts the page there is nothing more.
fn retain(found: &mut MessagePage, is_within: impl Fn(&Message) -> bool) {
    let count = found.messages.len();
    found.messages.retain(|message| is_within(message));
    found.has_more &= found.messages.len() == count;
}

fn search(query: &str, page: HistoryPage) -> Result<SearchRequest, RequestError> {
    // Characters here: what a schema can tell.
    if query.chars().count() > MAX_QUERY_BYTES {
        let limit = MAX_QUERY_BYTES;
        return Err(RequestError::Query(QueryError::TooLong { limit }));
    }
    let query = Query::parse(query).map_err(RequestError::Query)?;
    Ok(SearchRequest { query, page })
}

/// Messages on a page of the past, where no number is asked for.
pub const PAGE_MESSAGES: u64 = DEFAULT_PAGE_MESSAGES as u64;

// Acting

/// Who acts, if it may: the page itself, with what only a script can send, and only where talking
/// is allowed.
fn acting(request: &Request<HttpState>) -> Result<&RequestContext, Problem> {
    // Whoever makes a request says whom it is from.
    let fault = || Problem::new(500, "fault", "The request could not be answered");
    let ask = request.ext::<RequestContext>().ok_or_else(fault)?;
    if request.state().is_read_only {
        let detail = "This page is for reading only; talk with a client of the chat";
        return Err(Problem::new(403, "read-only", detail));
    }
    if !ask.caller.is_same_origin {
        let detail = "Only the page itself may do this: send the Origin of this address";
        return Err(Problem::new(403, "foreign-origin", detail));
    }
    if !ask.caller.has_json {
        let detail = "The content type is not application/json; send JSON, and say so";
        return Err(Problem::new(415, "bad-content-type", detail));
    }
    Ok(ask)
}

/// The object in the body.
fn object<'a, T: Deserialize<'a>>(body: &'a [u8], shape: &str) -> Result<T, Problem> {
    let refused = |refusal: RequestError, detail: String| Problem::new(400, refusal.code(), detail);
    let text = std::str::from_utf8(body).map_err(|_| {
        let detail = "The body is not valid UTF-8; send UTF-8 text".to_owned();
        refused(RequestError::NotUtf8, detail)
    })?;
    serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            let detail = format!("The body is not what this needs, such as {shape}");
            Problem::new(400, "bad-data", detail)
        }
        _ => refused(
            RequestError::NotJson,
            format!("The body is not valid JSON; send one object, such as {shape}"),
        ),
    })
}

/// What a browser asks the broker for, and the answer.
async fn ask(
    site: &HttpState,
    ask: &RequestContext,
    asked: BrowserCommand,
) -> Result<BrowserReply, Problem> {
    let (sender, receiver) = async_channel::bounded(1);
    let from = BrowserRequest {
        session: ask.caller.session.clone(),
        address: ask.address,
        asked,
        answer: sender,
    };
    match site.broker.ask_from_page(from, &receiver).await {
        Ok(BrowserReply::Not(refusal)) => Err(refusal.into()),
        Ok(answer) => Ok(answer),
        Err(_) => Err(Problem::stopping()),
    }
}

/// What was asked for as it goes to the broker: what is refused counts there too.
fn done_or_refused(asked: Result<Asked, RequestError>) -> BrowserCommand {
    asked.map_or_else(BrowserCommand::Refused, BrowserCommand::Do)
}

async fn join(request: &Request<HttpState>) -> Answered {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    let who = acting(request)?;
    let body: Body<'_> = object(&who.body, r#"{"name":"NAME"}"#)?;
    let asked = BrowserCommand::Join(body.name.into());
    let BrowserReply::Joined {
        name,
        token,
        is_new,
    } = ask(request.state(), who, asked).await?
    else {
        return Err(BrowserError::NoSession.into());
    };
    let limit = request.state().context.limits.max_message_bytes;
    let text = serde_json::json!({ "name": name.as_str(), "limits": { "message": limit } });
    let mut response = document(text.to_string(), "application/json");
    if is_new {
        response.set_status(StatusCode::Created);
    }
    let cookie = who
        .caller
        .cookie_with(&token, WEB_COOKIE_LIFETIME.as_secs());
    response.insert_header("set-cookie", cookie);
    Ok(response)
}

/// The answer where there is nothing to tell. (One of status 204 must have no length, and async-h1
/// gives it one.)
fn done() -> Response {
    document("{}".to_owned(), "application/json")
}

async fn leave(request: &Request<HttpState>) -> Answered {
    let who = acting(request)?;
    ask(request.state(), who, BrowserCommand::Leave).await?;
    let mut response = done();
    response.insert_header("set-cookie", who.caller.cookie_without());
    Ok(response)
}

async fn say(request: &Request<HttpState>) -> Answered {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        message: Cow<'a, str>,
        #[serde(borrow, default)]
        nonce: Option<Cow<'a, str>>,
        #[serde(default)]
        action: bool,
    }
    let who = acting(request)?;
    let site = request.state();
    let body: Body<'_> = object(&who.body, r#"{"message":"TEXT","nonce":"N"}"#)?;
    let most = site.context.limits.max_message_bytes;
    let asked = || {
        Ok(Asked::Say(SendMessage {
            text: decode::message_text(&body.message, most)?,
            action: body.action,
            nonce: decode::nonce(body.nonce.as_deref())?,
        }))
    };
    let BrowserReply::Done(id) = ask(site, who, done_or_refused(asked())).await? else {
        return Err(BrowserError::NoSession.into());
    };
    let text = serde_json::json!({ "id": id, "nonce": body.nonce });
    let mut response = document(text.to_string(), "application/json");
    response.set_status(StatusCode::Created);
    if let Some(id) = id {
        response.insert_header("location", format!("/m/{id}"));
    }
    Ok(response)
}

async fn whisper(request: &Request<HttpState>) -> Answered {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        target: Cow<'a, str>,
        #[serde(borrow)]
        message: Cow<'a, str>,
        #[serde(borrow, default)]
        nonce: Option<Cow<'a, str>>,
    }
    let who = acting(request)?;
    let site = request.state();
    let body: Body<'_> = object(
        &who.body,
        r#"{"target":"NAME","message":"TEXT","nonce":"N"}"#,
    )?;
    let most = site.context.limits.max_message_bytes;
    let asked = || {
        Ok(Asked::Private(SendPrivate {
            target: (*body.target).into(),
            text: decode::message_text(&body.message, most)?,
            nonce: decode::nonce(body.nonce.as_deref())?,
        }))
    };
    ask(site, who, done_or_refused(asked())).await?;
    Ok(done())
}
