//! The rules of smart fleets, and their bounds whatever happens.

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp(1_790_000_000_000_000);

fn policy(minimum: u32, maximum: Option<u32>) -> PolicySpec {
    PolicySpec {
        enabled: true,
        kind: PolicyKind::Location,
        minimum,
        maximum,
        threshold: 0.5,
        filters: Vec::new(),
        points: Vec::new(),
        data: "{}".into(),
    }
}

fn member(age: i64, standing: Standing, used: u32) -> Member {
    Member { created_at: Timestamp(NOW.0 - age), standing, sockets: 10, used }
}

#[test]
fn the_minimum_is_kept_and_the_maximum_holds_at_every_moment() {
    let ready = member(1, Standing::Ready, 0);
    let leaving = member(2, Standing::Leaving, 0);
    let failed = member(3, Standing::Failed(NOW), 0);
    assert_eq!(decide(&policy(1, None), &[], NOW), Step::Create);
    assert_eq!(decide(&policy(1, None), &[ready], NOW), Step::Rest);
    assert_eq!(decide(&policy(2, None), &[ready, leaving, failed], NOW), Step::Create);
    assert_eq!(decide(&policy(2, Some(2)), &[ready, leaving], NOW), Step::Rest, "one is still leaving");
    assert_eq!(decide(&policy(0, None), &[], NOW), Step::Rest);
}

#[test]
fn the_newest_deployment_decides_whether_there_is_one_more() {
    let full = member(9, Standing::Ready, 10);
    assert_eq!(decide(&policy(1, None), &[member(1, Standing::Ready, 4), full], NOW), Step::Rest);
    assert_eq!(decide(&policy(1, None), &[member(1, Standing::Ready, 5), full], NOW), Step::Create);
    assert_eq!(
        decide(&policy(1, None), &[member(1, Standing::Starting, 9), full], NOW),
        Step::Rest,
        "it is not there yet"
    );
    assert_eq!(decide(&policy(1, Some(1)), &[full], NOW), Step::Rest);
}

#[test]
fn failures_in_a_row_slow_the_next_start_down() {
    let failed = |n: usize| vec![member(1, Standing::Failed(NOW), 0); n];
    assert_eq!(decide(&policy(1, None), &failed(2), NOW), Step::Create);
    let wait = |seconds| Step::Wait(NOW.plus(Duration::from_secs(seconds)));
    assert_eq!(decide(&policy(1, None), &failed(3), NOW), wait(1));
    assert_eq!(decide(&policy(1, None), &failed(5), NOW), wait(4));
    assert_eq!(decide(&policy(1, None), &failed(40), NOW), wait(60));
    assert_eq!(decide(&policy(1, None), &failed(40), NOW.plus(Duration::from_secs(300))), Step::Create);
}

#[test]
fn only_what_is_more_than_the_minimum_may_end() {
    let two = [member(1, Standing::Ready, 0), member(2, Standing::Ready, 0)];
    assert!(may_end(&policy(1, None), &two));
    assert!(!may_end(&policy(2, None), &two));
    assert!(!may_end(&policy(1, None), &[two[0], member(3, Standing::Leaving, 0)]));
}

#[test]
fn what_always_fails_costs_ten_starts_in_five_minutes_and_six_an_hour_after() {
    let mut budget = Budget { full_at: Timestamp(0) };
    let mut starts = Vec::new();
    for second in 0..6 * 3600 {
        let now = NOW.plus(Duration::from_secs(second));
        while let Some(spent) = budget.spend(now) {
            budget = spent;
            starts.push(second);
        }
    }
    assert_eq!(starts.iter().filter(|at| **at < 300).count(), 10);
    for hour in 0..5 {
        let from = 300 + hour * 3600;
        assert!(starts.iter().filter(|at| (from..from + 3600).contains(*at)).count() <= 6, "{starts:?}");
    }
    assert_eq!(starts.len(), 10 + 35);
}

#[test]
fn what_works_costs_nothing() {
    let mut budget = Budget { full_at: Timestamp(0) };
    for _ in 0..1000 {
        budget = budget.spend(NOW).unwrap().give_back();
    }
    assert!(budget.spend(NOW).is_some());
    let spent = (0..10).fold(Budget { full_at: NOW }, |budget, _| budget.spend(NOW).unwrap());
    assert_eq!(spent.spend(NOW), None);
    assert_eq!(spent.open_at(), NOW.plus(EVERY));
    assert!(spent.give_back().spend(NOW).is_some());
}

proptest! {
    #[test]
    fn whatever_happens_the_bounds_hold(
        minimum in 0_u32..5,
        spare in 0_u32..4,
        events in proptest::collection::vec((0_u8..5, 0_usize..8), 0..60),
    ) {
        let policy = policy(minimum, Some(minimum + spare).filter(|maximum| *maximum > 0));
        let mut members: Vec<Member> = Vec::new();
        let mut now = NOW;
        for (event, which) in events {
            now = now.plus(Duration::from_secs(61));
            // What has failed or leaves does not come back.
            if let Some(member) = members.get_mut(which).filter(|member| member.is_well() || event == 4) {
                match event {
                    0 => member.standing = Standing::Ready,
                    1 => member.standing = Standing::Failed(now),
                    2 => member.standing = Standing::Leaving,
                    3 => member.used = member.sockets,
                    _ => drop(members.remove(which)),
                }
            }
            while decide(&policy, &members, now) == Step::Create {
                members.push(Member { created_at: now, standing: Standing::Starting, sockets: 10, used: 0 });
            }
            let present = members.iter().filter(|member| !member.has_ended()).count();
            prop_assert!(policy.maximum.is_none_or(|maximum| present <= maximum as usize));
            let well = members.iter().filter(|member| member.is_well()).count();
            let blocked = policy.maximum.is_some_and(|maximum| present >= maximum as usize);
            prop_assert!(well >= minimum as usize || blocked || matches!(decide(&policy, &members, now), Step::Wait(_)));
        }
    }
}
