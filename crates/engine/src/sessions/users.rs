//! Who is in a session: show, add, remove.

use std::net::IpAddr;

use spawnpoint_model::limits::USERS_MAX;
use spawnpoint_model::session::{Session, SessionPhase};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{Invalid, SessionId};

use super::{UserInput, no_session};
use crate::{Engine, Error};

impl Engine {
    /// Adds players. Two of them may share an address.
    ///
    /// # Errors
    /// `NotFound`; `Unprocessable` if there is no room, or if it sits on no deployment; `Invalid` if they are too many.
    pub async fn add_session_users(
        &self,
        actor: &Actor,
        id: SessionId,
        ips: &[IpAddr],
    ) -> Result<Session, Error> {
        self.present(actor, id).await?;
        let inputs: Vec<UserInput> = ips.iter().map(|ip| UserInput { ip: *ip, at: None }).collect();
        let users = self.session_users(&inputs);
        let change = |session: &mut Session| {
            if session.users.len() + users.len() > USERS_MAX {
                let problem = format!("a session has at most {USERS_MAX} players");
                return Err(Invalid::new("ip_list", problem).into());
            }
            session.users.extend(&users);
            Ok(())
        };
        self.change_session(id, change).await
    }

    /// Removes one player for each address. Those who are not there are passed over.
    ///
    /// # Errors
    /// `NotFound`; `Unprocessable` if it sits on no deployment.
    pub async fn remove_session_users(
        &self,
        actor: &Actor,
        id: SessionId,
        ips: &[IpAddr],
    ) -> Result<Session, Error> {
        self.present(actor, id).await?;
        let change = |session: &mut Session| {
            for ip in ips {
                if let Some(found) = session.users.iter().position(|user| user.ip == *ip) {
                    session.users.remove(found);
                }
            }
            Ok(())
        };
        self.change_session(id, change).await
    }

    async fn present(&self, actor: &Actor, id: SessionId) -> Result<(), Error> {
        let row = self.session_for(actor, Scope::Deploy, id).await?;
        if row.session.phase == SessionPhase::Deleted {
            return Err(no_session(id));
        }
        Ok(())
    }
}
