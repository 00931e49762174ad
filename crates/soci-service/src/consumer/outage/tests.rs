use soci_jobs::Why;
use soci_oci::Digest;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn image(repository: &str, number: u32) -> JobImage {
    let digest = Digest::sha256_of(number.to_string().as_bytes());
    JobImage { repository: repository.to_owned(), digest, tag: None }
}

/// A watch, and the time it is told.
struct Watched {
    watch: OutageWatch,
    now: Instant,
    jobs: u64,
}

impl Watched {
    fn new() -> Self {
        Self { watch: OutageWatch::default(), now: Instant::now(), jobs: 0 }
    }

    fn ends(&mut self, sign: Sign<'_>) -> Option<Event<'static>> {
        self.jobs += 1;
        let job = JobId(self.jobs);
        self.watch.begun(job, self.now);
        self.watch.ended(job, sign, self.now, 0.0)
    }

    fn fails(&mut self, reason: Reason, repository: &str, number: u32) -> bool {
        let image = image(repository, number);
        self.ends(Sign::Fails(reason, &image));
        self.watch.is_on()
    }

    /// An outage that has just begun.
    fn away() -> Self {
        let mut watched = Self::new();
        for number in 0..3 {
            watched.fails(Reason::RegistryUnavailable, "r/app", number);
        }
        assert!(watched.watch.is_on());
        watched
    }
}

#[test]
fn three_images_that_fail_for_one_reason_make_an_outage() {
    let mut watched = Watched::new();
    let began = watched.now;
    for (number, expected) in [(1, false), (2, false), (3, true)] {
        let on = watched.fails(Reason::Throttled, "r/app", number);
        assert_eq!(on, expected, "{number}");
        watched.now += SECOND;
    }
    let Some(Outage { reason, since, .. }) = watched.watch.outage else { panic!("no outage") };
    assert_eq!((reason, since), (Reason::Throttled, began));
}

#[test]
fn one_image_that_fails_again_and_again_makes_none() {
    let mut watched = Watched::new();
    for _ in 0..20 {
        assert!(!watched.fails(Reason::RegistryUnavailable, "r/app", 1));
        assert!(!watched.fails(Reason::RegistryUnavailable, "r/app", 2));
    }
}

#[test]
fn different_reasons_old_failures_and_a_success_in_between_make_none() {
    let mut watched = Watched::new();
    watched.fails(Reason::RegistryUnavailable, "r/app", 1);
    watched.fails(Reason::Throttled, "r/app", 2);
    assert!(!watched.fails(Reason::RegistryUnavailable, "r/app", 3));
    watched.ends(Sign::Works);
    watched.fails(Reason::Throttled, "r/app", 4);
    assert!(!watched.fails(Reason::Throttled, "r/app", 5));
    watched.now += WINDOW;
    assert!(!watched.fails(Reason::Throttled, "r/app", 6));
    assert!(!watched.fails(Reason::Throttled, "r/app", 7));
    assert!(watched.fails(Reason::Throttled, "r/app", 8));
}

#[test]
fn access_that_one_repository_denies_makes_none() {
    let mut watched = Watched::new();
    for number in 0..200 {
        assert!(!watched.fails(Reason::Unauthorized, "r/closed", number));
    }
    assert!(watched.watch.failures.len() <= MAX_FAILURES);
    assert!(watched.fails(Reason::Unauthorized, "r/other", 1));
}

#[test]
fn while_it_lasts_one_job_is_taken_after_pauses_that_grow() {
    let Watched { mut watch, mut now, .. } = Watched::away();
    let failed = image("r/app", 9);
    let mut pauses = Vec::new();
    for probe in 0..8 {
        let Allowance::NoneUntil(until) = watch.allowance(now) else { panic!("no pause") };
        pauses.push((until - now).as_secs());
        now = until;
        assert_eq!(watch.allowance(now), Allowance::Probe);
        let job = JobId(100 + probe);
        watch.begun(job, now);
        assert!(matches!(watch.allowance(now), Allowance::NoneUntil(_)), "one at a time");
        let sign = Sign::Fails(Reason::RegistryUnavailable, &failed);
        // Jobs that ran before are no probes.
        assert!(watch.ended(JobId(1), sign, now, 0.0).is_none());
        let told = watch.ended(job, sign, now, 0.0);
        assert!(matches!(told, Some(Event::OutageLasts { .. })), "{told:?}");
    }
    assert_eq!(pauses, [15, 30, 60, 120, 240, 300, 300, 300]);
}

#[test]
fn whatever_needed_a_registry_that_works_ends_it() {
    let why = |reason| Why::found(reason, "");
    let image = image("r/app", 1);
    for (outcome, ends) in [
        (Outcome::Skipped(why(Reason::NothingToIndex)), true),
        (Outcome::Rejected(why(Reason::LayerRejected)), true),
        (Outcome::Skipped(why(Reason::TagGone)), false),
        (Outcome::Rejected(why(Reason::RegistryRefused)), false),
        (Outcome::Skipped(Why::new("unmatched", "")), false),
        (Outcome::Rejected(Why::new("malformed", "")), false),
        (Outcome::Failed(why(Reason::RegistryUnavailable)), false),
        (Outcome::Failed(why(Reason::DigestMismatch)), false),
        (Outcome::Stopped, false),
    ] {
        let mut watched = Watched::away();
        watched.now += PAUSES.max;
        let told = watched.ends(Sign::of(&outcome, Some(&image)));
        assert_eq!(matches!(told, Some(Event::OutageEnded { .. })), ends, "{outcome:?}");
        assert_eq!(watched.watch.is_on(), !ends);
        if ends {
            assert_eq!(watched.watch.allowance(watched.now), Allowance::All);
        }
    }
}

#[test]
fn a_probe_that_says_nothing_is_followed_by_the_next_at_once() {
    let mut watched = Watched::away();
    watched.now += PAUSES.max;
    assert!(watched.ends(Sign::Silent).is_none());
    assert_eq!(watched.watch.allowance(watched.now), Allowance::Probe);
}

#[test]
fn a_probe_that_takes_long_does_not_keep_the_others_away_for_ever() {
    let mut watched = Watched::away();
    watched.now += PAUSES.max;
    watched.watch.begun(JobId(50), watched.now);
    watched.now += PAUSES.max;
    assert_eq!(watched.watch.allowance(watched.now), Allowance::Probe);
}

#[test]
fn what_could_not_be_understood_names_no_image_and_is_no_failure_of_the_registry() {
    let outcome = Outcome::Failed(Why::found(Reason::RegistryUnavailable, ""));
    assert!(matches!(Sign::of(&outcome, None), Sign::Silent));
}

#[test]
fn an_outage_of_which_nothing_is_heard_any_longer_is_forgotten() {
    let mut watched = Watched::away();
    let Some(Outage { next_probe, .. }) = watched.watch.outage else { panic!("no outage") };
    let forgotten = next_probe + FORGOTTEN;
    assert!(watched.watch.forget(forgotten - SECOND).is_none());

    // A probe in hand will tell, however long it takes.
    watched.watch.begun(JobId(7), next_probe);
    assert!(watched.watch.forget(forgotten + 10 * FORGOTTEN).is_none());
    let failed = image("r/app", 7);
    let at = forgotten + FORGOTTEN;
    watched.watch.ended(JobId(7), Sign::Fails(Reason::Throttled, &failed), at, 0.0);
    assert!(watched.watch.forget(at + FORGOTTEN).is_none(), "from the next probe on");

    let told = watched.watch.forget(at + FORGOTTEN + PAUSES.max);
    let Some(Event::OutageForgotten { reason: Reason::Throttled, .. }) = told else {
        panic!("{told:?}")
    };
    assert_eq!(watched.watch.allowance(at), Allowance::All);
    assert!(watched.watch.forget(at + 9 * FORGOTTEN).is_none(), "told once");
}
