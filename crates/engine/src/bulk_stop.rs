//! Bulk stop: ends every deployment that satisfies all of some filters.
//!
//! It never means "everything": a request without a filter, or a filter without a value, is refused and nothing is
//! stopped. Each deployment is stopped as [`Engine::stop`] does it and in a change of its own; the changes are stored side
//! by side, so that the store groups them into few commits, and all of them are stored when this returns. Then they are
//! carried out in turn (`turns.rs`).

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::StreamExt;
use spawnpoint_model::deployment::{Phase, StopCause};
use spawnpoint_model::filter::FilterType;
use spawnpoint_model::query::{Condition, ListQuery};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{Deployment, DeploymentId, Invalid};

use crate::{Engine, Error};

/// Stops that are stored side by side. More would only let other callers wait longer for their own commits.
const AT_ONCE: usize = 8;
/// What of a deployment is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopField {
    /// Its id.
    Id,
    /// Its tags.
    Tags,
}

/// One filter; all of a request must match.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StopFilter {
    /// What is compared.
    pub field: StopField,
    /// With what, letter by letter.
    pub values: Vec<String>,
    /// Whether one of the values has to be there, all of them, or none.
    pub filter_type: FilterType,
}

/// A filter, made ready to be held against many rows.
enum Prepared<'a> {
    /// `None`: what was asked for can be no deployment's id.
    Ids(HashSet<Option<DeploymentId>>, FilterType),
    Tags(HashSet<&'a str>, FilterType),
}

impl<'a> Prepared<'a> {
    fn of(filter: &'a StopFilter) -> Self {
        let how = filter.filter_type;
        match filter.field {
            StopField::Id => Self::Ids(filter.values.iter().map(|value| value.parse().ok()).collect(), how),
            StopField::Tags => Self::Tags(filter.values.iter().map(String::as_str).collect(), how),
        }
    }

    fn matches(&self, row: &Deployment) -> bool {
        match self {
            Self::Ids(ids, FilterType::Any) => ids.contains(&Some(row.id)),
            Self::Ids(ids, FilterType::All) => ids.contains(&Some(row.id)) && ids.len() == 1,
            Self::Ids(ids, FilterType::Not) => !ids.contains(&Some(row.id)),
            Self::Tags(names, how) => {
                let present = row.state.tags.iter().filter(|tag| names.contains(tag.name.as_str())).count();
                match how {
                    FilterType::Any => present > 0,
                    FilterType::All => present == names.len(),
                    FilterType::Not => present == 0,
                }
            }
        }
    }

    /// What the database can look for: at least what matches. Of `all`, one of the values, since a condition for each of
    /// many is more than a database takes.
    fn narrowing(&self) -> Option<Condition> {
        let few = |how: &FilterType| if *how == FilterType::All { 1 } else { usize::MAX };
        match self {
            Self::Ids(_, FilterType::Not) | Self::Tags(_, FilterType::Not) => None,
            Self::Ids(ids, _) => Some(Condition::Id(ids.iter().copied().flatten().collect(), true)),
            Self::Tags(names, how) => {
                let names = names.iter().take(few(how)).map(|name| (*name).to_owned()).collect();
                Some(Condition::Tags(names, true))
            }
        }
    }
}

impl Engine {
    /// Stops every deployment that satisfies all of `filters` and is the actor's business; their ids. Those that are being
    /// stopped already are among them, those that have ended are not.
    ///
    /// # Errors
    /// `Invalid` for no filter or one without values: nothing is stopped. If the store is not well, some may have been
    /// stopped; asking again is safe.
    pub async fn bulk_stop(&self, actor: &Actor, filters: &[StopFilter]) -> Result<Vec<DeploymentId>, Error> {
        self.need(actor, Scope::Deploy)?;
        if filters.is_empty() {
            return Err(Invalid::new("filters", "must not be empty").into());
        }
        if let Some(empty) = filters.iter().position(|filter| filter.values.is_empty()) {
            return Err(Invalid::new(format!("filters[{empty}].values"), "must not be empty").into());
        }
        let rows = self.matching(actor, filters).await?;
        let stops = rows.into_iter().map(|row| {
            let id = row.id;
            async move {
                match self.record_stop(row, StopCause::User, None).await {
                    Ok(_) => Ok(Some(id)),
                    // It ended by itself meanwhile.
                    Err(Error::Gone(_) | Error::NotFound(_)) => Ok(None),
                    Err(other) => Err(other),
                }
            }
        });
        // None is given up in the middle because another failed.
        let outcomes: Vec<_> = futures_util::stream::iter(stops).buffered(AT_ONCE).collect().await;
        outcomes.iter().flatten().flatten().for_each(|id| self.wake_in_turn(*id));
        let stopped: Result<Vec<_>, Error> = outcomes.into_iter().collect();
        Ok(stopped?.into_iter().flatten().collect())
    }

    /// The live rows that satisfy all of `filters`, the oldest first.
    async fn matching(&self, actor: &Actor, filters: &[StopFilter]) -> Result<Vec<Arc<Deployment>>, Error> {
        let filters: Vec<Prepared<'_>> = filters.iter().map(Prepared::of).collect();
        let narrowed = ListQuery {
            conditions: filters.iter().filter_map(Prepared::narrowing).collect(),
            apps: actor.apps.clone(),
            ..ListQuery::default()
        };
        let mut rows = self.inner.rows.live_among(&narrowed).await?;
        rows.retain(|row| {
            actor.may_see(&row.spec.app)
                && !matches!(row.state.phase, Phase::Terminated(_))
                && filters.iter().all(|filter| filter.matches(row))
        });
        rows.sort_unstable_by_key(|row| (row.spec.created_at, row.id));
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_database_looks_for_is_never_less_than_what_matches() {
        let narrowing = |field, filter_type, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            Prepared::of(&StopFilter { field, values, filter_type }).narrowing()
        };
        let tags = |filter_type| narrowing(StopField::Tags, filter_type, &["a", "b"]);
        let Some(Condition::Tags(any, true)) = tags(FilterType::Any) else { unreachable!("a condition") };
        assert_eq!(any.len(), 2);
        let Some(Condition::Tags(one, true)) = tags(FilterType::All) else { unreachable!("a condition") };
        assert_eq!(one.len(), 1);
        assert_eq!(tags(FilterType::Not), None);
        let id = DeploymentId::from_random(7);
        let ids = narrowing(StopField::Id, FilterType::Any, &[&id.to_string(), "nobody"]);
        assert_eq!(ids, Some(Condition::Id(vec![id], true)));
        assert_eq!(narrowing(StopField::Id, FilterType::Any, &["nobody"]), Some(Condition::Id(vec![], true)));
    }
}
