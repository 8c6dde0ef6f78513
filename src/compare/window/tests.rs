use super::*;

const SPAN: Duration = Duration::from_secs(600);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn sample(class: Class, overlap: f64) -> Sample {
    Sample {
        class,
        top1: overlap > 0.5,
        overlap,
        spearman: (overlap > 0.0).then_some(overlap),
        is_list: overlap < 1.0,
        own: None,
        recall: None,
    }
}

fn exact(sample: Sample, own: f64, recall: f64) -> Sample {
    Sample {
        own: Some(own),
        recall: Some(recall),
        ..sample
    }
}

fn near(found: Option<f64>, known: f64) {
    assert!(
        (found.unwrap() - known).abs() < 1e-9,
        "{found:?}, known {known}"
    );
}

#[test]
fn an_empty_window_knows_nothing() {
    let summary = Window::new(SPAN).summary(seconds(1000));
    assert_eq!((summary.age, summary.queries), (Duration::ZERO, 0));
    assert_eq!((summary.top1, summary.overlap), (None, None));
    assert_eq!((summary.spearman, summary.recall), (None, None));
}

#[test]
fn the_figures_are_those_of_the_reads() {
    let mut window = Window::new(SPAN);
    window.add(seconds(100), sample(Class::Equal, 1.0));
    window.add(seconds(150), sample(Class::Noise, 0.8));
    window.add(seconds(200), exact(sample(Class::Real, 0.0), 0.9, 0.3));
    window.add(seconds(200), exact(sample(Class::Equal, 1.0), 1.0, 1.0));
    let summary = window.summary(seconds(300));
    assert_eq!((summary.queries, summary.age), (4, seconds(200)));
    assert_eq!(summary.count(Class::Equal), 2);
    assert_eq!(summary.count(Class::Real), 1);
    assert_eq!(summary.count(Class::Short), 0);
    near(summary.top1, 0.75);
    near(summary.overlap, 0.7);
    near(summary.spearman, 2.8 / 3.0);
    assert_eq!(summary.lists, 2);
    near(summary.overlaps.corrected(), 0.7 / 0.95);
    let recall = summary.recall.unwrap();
    assert_eq!(recall.count, 2);
    // numpy.mean, numpy.median and numpy.percentile(5) of [0.3, 1.0].
    near(Some(recall.mean), 0.65);
    near(Some(recall.median), 0.65);
    near(Some(recall.p5), 0.335);
}

#[test]
fn what_lags_is_counted_and_not_measured() {
    let mut window = Window::new(SPAN);
    window.add(seconds(100), sample(Class::Lagging, 0.1));
    window.add(seconds(200), sample(Class::Equal, 1.0));
    let summary = window.summary(seconds(300));
    assert_eq!(summary.count(Class::Lagging), 1);
    assert_eq!((summary.queries, summary.age), (1, seconds(100)));
    near(summary.overlap, 1.0);
}

#[test]
fn what_is_past_the_span_goes() {
    let mut window = Window::new(SPAN);
    window.add(seconds(5), sample(Class::Real, 0.0));
    window.add(seconds(300), sample(Class::Equal, 1.0));
    assert_eq!(window.summary(seconds(600)).queries, 2);
    // Whether or not anything was added meanwhile.
    assert_eq!(window.summary(seconds(620)).queries, 1);
    assert_eq!(window.summary(seconds(9000)).queries, 0);
    window.add(seconds(650), sample(Class::Equal, 1.0));
    assert_eq!(window.summary(seconds(650)).queries, 2);
}

#[test]
fn a_steady_window_is_as_old_as_its_span() {
    let mut window = Window::new(SPAN);
    for second in 0..2000 {
        window.add(seconds(second), sample(Class::Equal, 1.0));
        let age = window.summary(seconds(second)).age;
        assert!(age >= SPAN.min(seconds(second)), "{age:?} at {second}");
        assert!(age <= SPAN + seconds(10), "{age:?} at {second}");
    }
}

#[test]
fn memory_does_not_grow_with_the_reads() {
    let mut window = Window::new(SPAN);
    for second in 0..20_000 {
        window.add(seconds(second), sample(Class::Equal, 1.0));
    }
    assert!(window.parts.len() <= 61, "{}", window.parts.len());
}

#[test]
fn a_clock_that_goes_back_stands_still() {
    let mut window = Window::new(SPAN);
    window.add(seconds(500), sample(Class::Equal, 1.0));
    window.add(seconds(100), sample(Class::Equal, 1.0));
    let summary = window.summary(seconds(500));
    assert_eq!((summary.queries, summary.age), (2, Duration::ZERO));
    assert_eq!(window.summary(seconds(50)).age, Duration::ZERO);
}

#[test]
fn parts_that_began_before_are_left_out() {
    let mut window = Window::new(SPAN);
    for (at, overlap) in [(5, 0.0), (15, 0.2), (25, 1.0)] {
        window.add(seconds(at), sample(Class::Real, overlap));
    }
    // A part is ten seconds.
    for (since, queries) in [(0, 3), (1, 2), (10, 2), (11, 1), (20, 1), (21, 0)] {
        let summary = window.summary_since(seconds(30), seconds(since));
        assert_eq!(summary.queries, queries, "{since}");
    }
    let summary = window.summary_since(seconds(30), seconds(16));
    assert_eq!((summary.age, summary.overlap), (seconds(5), Some(1.0)));
}

#[test]
fn a_cleared_window_begins_anew() {
    let mut window = Window::new(SPAN);
    window.add(seconds(1), sample(Class::Equal, 1.0));
    window.clear();
    assert_eq!(window.summary(seconds(1)).queries, 0);
}
