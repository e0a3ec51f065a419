//! Changes of a user's name.

use crate::chat::error::{RejectedRequest, RequestError};
use crate::chat::event::EventKind;
use crate::chat::room::Room;
use crate::chat::room::effect::{Effect, Reply};
use crate::chat::room::roster::UserId;
use crate::chat::username::{Username, UsernameKey};
use jiff::Timestamp;

impl Room {
    pub(super) fn set_name(
        &mut self,
        id: UserId,
        requested: &str,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        match self.check_new_name(id, requested) {
            Err(error) => {
                let rejected = RejectedRequest {
                    error,
                    kind: Some("set-name".into()),
                };
                self.reject(id, rejected, effects);
            }
            Ok((name, key)) => {
                self.reset_rejections(id);
                if self.name(id) == Some(&name) {
                    let notice = Reply::Notice(format!("Your name is already {name}"));
                    return effects.push(Effect::Reply(notice));
                }
                self.rename(id, &name, key, now, effects);
            }
        }
    }

    /// Returns the name that a user asks for and its key, or no key if it is the user's address.
    fn check_new_name(
        &self,
        id: UserId,
        requested: &str,
    ) -> Result<(Username, Option<UsernameKey>), RequestError> {
        let user = self.roster.get(id);
        let own_address = user
            .filter(|user| user.mailbox.is_none())
            .map(|user| user.address);
        let name = Username::parse(requested, own_address).map_err(RequestError::Name)?;
        let is_address = own_address.is_some_and(|own| name == Username::from_address(own));
        let key = (!is_address).then(|| name.key());
        match &key {
            Some(key) if self.roster.is_taken(key, Some(id)) => {
                Err(RequestError::NameTaken(name.as_str().into()))
            }
            _ => Ok((name, key)),
        }
    }

    /// Renames a user and announces the new name. `key` is `None` if the name is its address.
    pub(super) fn rename(
        &mut self,
        id: UserId,
        name: &Username,
        key: Option<UsernameKey>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let has_chosen = key.is_some();
        let Some(old) = self.roster.rename(id, name, key) else {
            return;
        };
        if let Some(number) = self.roster.get(id).and_then(|user| user.session) {
            if let Some(session) = self.sessions.get_mut(number) {
                session.name = name.clone();
                session.has_chosen = has_chosen;
            }
            self.record_session(number);
        }
        let new = name.clone();
        self.publish(EventKind::Renamed { old, new }, now, effects);
    }
}
