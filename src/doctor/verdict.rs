//! What all findings together come to, in one line. Pure.

use std::fmt;

use crate::probe::{Group, Need, Report, Status};

/// What the findings come to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Everything works.
    Full,
    /// The default policy can be had; these, by their titles, cannot.
    Without(Vec<&'static str>),
    /// The default policy cannot be had.
    #[non_exhaustive]
    Not {
        /// The first obstacle, by its title.
        obstacle: &'static str,
        /// What stops it.
        reason: String,
        /// What to do about it.
        remedy: Option<String>,
    },
}

impl Verdict {
    /// Weigh the findings of `report`.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let obstacles = report.obstacles();
        // What was skipped only follows from something else; that is the one to name.
        let first = obstacles
            .iter()
            .find(|finding| finding.status != Status::Skipped)
            .or(obstacles.first());
        if let Some(finding) = first {
            return Self::Not {
                obstacle: finding.feature.title,
                reason: finding.detail.clone(),
                remedy: finding.remedy.clone(),
            };
        }
        let lost: Vec<_> = [Need::Required, Need::Wall, Need::Option]
            .into_iter()
            .flat_map(|need| report.missing(need))
            .filter(|finding| finding.status != Status::Skipped)
            .filter(|finding| finding.feature.group != Group::Extras)
            .map(|finding| finding.feature.title)
            .collect();
        if lost.is_empty() {
            return Self::Full;
        }
        Self::Without(lost)
    }

    /// Whether the default policy can be had.
    #[must_use]
    pub fn works(&self) -> bool {
        !matches!(self, Self::Not { .. })
    }

    /// What to do about the first obstacle.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Not { remedy, .. } => remedy.as_deref(),
            _ => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("sandbox works here in full"),
            Self::Without(lost) => write!(f, "sandbox works here, without: {}", lost.join(", ")),
            Self::Not {
                obstacle, reason, ..
            } => write!(f, "sandbox does not work here: no {obstacle}: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{CAP_SYS_ADMIN, FEATURES, Finding, Id, Readings};

    /// Everything works but `missing`.
    fn report(missing: &[(Id, Status)]) -> Report {
        let findings = FEATURES
            .iter()
            .map(|feature| {
                let found = missing.iter().find(|(id, _)| *id == feature.id);
                Finding {
                    feature,
                    status: found.map_or(Status::Works, |(_, status)| *status),
                    detail: "because".to_owned(),
                    remedy: None,
                }
            })
            .collect();
        Report {
            readings: Readings::default(),
            findings,
        }
    }

    #[test]
    fn each_loss_weighs_what_it_should() {
        let table = [
            (vec![], "sandbox works here in full"),
            (
                vec![(Id::Ipv6, Status::Absent)],
                "sandbox works here in full",
            ),
            (
                vec![(Id::Veth, Status::Absent)],
                "sandbox works here in full",
            ),
            (
                vec![
                    (Id::LandlockScopes, Status::Absent),
                    (Id::CgroupMemory, Status::Skipped),
                ],
                "sandbox works here, without: Landlock scopes",
            ),
            (
                vec![(Id::FreshProc, Status::Blocked)],
                "sandbox does not work here: no fresh /proc: because",
            ),
            (
                vec![
                    (Id::UserNamespace, Status::Blocked),
                    (Id::NetworkNamespace, Status::Skipped),
                ],
                "sandbox does not work here: no user namespace: because",
            ),
        ];
        for (missing, words) in table {
            assert_eq!(Verdict::of(&report(&missing)).to_string(), words);
        }
    }

    #[test]
    fn root_can_do_without_a_user_namespace_and_others_cannot() {
        let mut host = report(&[(Id::UserNamespace, Status::Blocked)]);
        assert!(!Verdict::of(&host).works());
        host.readings.support.capabilities = 1 << CAP_SYS_ADMIN;
        assert_eq!(Verdict::of(&host), Verdict::Without(vec!["user namespace"]));
    }
}
