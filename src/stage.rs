//! Places between two steps at which a test has the product stop, or panic, so that what is about
//! their order can be told step by step.
//!
//! A build without debug assertions has nothing of it: `Stages` is empty then and `reached` does
//! nothing, unless the feature `testing` asks for it. What is stopped belongs to one sidecar: tests
//! run many in one process.

/// A place.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Stage {
    /// A write that finds its points by a filter has found them.
    AfterResolve,
    /// The marks of a write are durable, or are made by the store; it was not sent yet.
    AfterIntend,
    /// The authority has answered a write, which still counts as under way.
    AfterAnswer,
    /// The drainer has taken marks.
    AfterTake,
    /// It has read what they point at.
    AfterRead,
    /// The follower has it.
    AfterApply,
    /// What may be cleared is known, and was not cleared.
    BeforeClear,
    /// A collection is about to be compared.
    SweepBegins,
    /// A collection was compared; what differs is not all marked.
    SweepRead,
    /// What has gone at the authority has gone at the follower, which is not noted yet.
    AfterDrop,
    /// Every sidecar holds its writes.
    InsideFence,
    /// The marks are worked off.
    BeforeFlip,
}

#[cfg(any(debug_assertions, feature = "testing"))]
pub use live::{Stages, Stop, Trap};

/// What a sidecar passes on its way.
#[cfg(not(any(debug_assertions, feature = "testing")))]
#[derive(Clone, Default)]
pub struct Stages;

#[cfg(not(any(debug_assertions, feature = "testing")))]
impl Stages {
    #[expect(clippy::unused_async, reason = "a build for tests stops here")]
    pub async fn reached(&self, _stage: Stage) {}
}

#[cfg(any(debug_assertions, feature = "testing"))]
mod live {
    use std::collections::HashMap;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tokio::sync::watch;

    use super::Stage;

    /// What a sidecar passes on its way.
    #[derive(Clone, Default)]
    pub struct Stages(Arc<Mutex<HashMap<Stage, Rule>>>);

    #[derive(Clone)]
    enum Rule {
        /// Told how many have come, and telling when they may go on.
        Stop(watch::Sender<usize>, watch::Receiver<bool>),
        Panic,
    }

    impl Rule {
        async fn meet(self, stage: Stage) {
            match self {
                Self::Stop(come, mut is_open) => {
                    come.send_modify(|count| *count += 1);
                    // Who has stopped us may be gone: then it is open.
                    drop(is_open.wait_for(|is_open| *is_open).await);
                }
                #[expect(clippy::panic, reason = "a test asks for it")]
                Self::Panic => panic!("a test asked for a panic at {stage:?}"),
            }
        }
    }

    impl Stages {
        /// Cancel safety: safe.
        pub async fn reached(&self, stage: Stage) {
            let rule = self.0.lock().get(&stage).cloned();
            if let Some(rule) = rule {
                // In a box: what is never stopped is not made larger by it.
                Box::pin(rule.meet(stage)).await;
            }
        }

        /// Whoever comes to this stage from now on stops there.
        pub fn stop(&self, stage: Stage) -> Stop {
            let (opens, is_open) = watch::channel(false);
            let (comes, come) = watch::channel(0);
            self.0.lock().insert(stage, Rule::Stop(comes, is_open));
            let stages = self.clone();
            Stop {
                stages,
                stage,
                opens,
                come,
            }
        }

        /// Whoever comes to this stage from now on panics.
        pub fn panic(&self, stage: Stage) -> Trap {
            self.0.lock().insert(stage, Rule::Panic);
            Trap(self.clone(), stage)
        }
    }

    /// Keeps a stage shut.
    pub struct Stop {
        stages: Stages,
        stage: Stage,
        opens: watch::Sender<bool>,
        come: watch::Receiver<usize>,
    }

    impl Stop {
        /// Returns once so many have come to it.
        ///
        /// Cancel safety: safe.
        pub async fn reached(&mut self, count: usize) {
            drop(self.come.wait_for(|come| *come >= count).await);
        }

        /// How many have come to it.
        pub fn come(&self) -> usize {
            *self.come.borrow()
        }

        /// Lets all of them go on, and stops nobody any more.
        pub fn go(self) {
            drop(self);
        }
    }

    impl Drop for Stop {
        fn drop(&mut self) {
            self.stages.0.lock().remove(&self.stage);
            self.opens.send_replace(true);
        }
    }

    /// Has a stage panic.
    pub struct Trap(Stages, Stage);

    impl Drop for Trap {
        fn drop(&mut self) {
            self.0.0.lock().remove(&self.1);
        }
    }
}
