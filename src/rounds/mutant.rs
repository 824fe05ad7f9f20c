//! Planted faults: each breaks one promise of the core, and the tests must notice every one.
//!
//! Only tests can plant a fault. In every other build, `Mutants::has` is a constant `false`, so that
//! the compiler removes the faults.

/// A planted fault, named after its effect.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)] // The names are the documentation: each says the effect of the fault.
pub enum Mutant {
    DuplicateReply,
    LostFallback,
    DeadlineOffByOne,
    LateAnswerOfAnOldRoundIsMerged,
    PublishesAfterSupersede,
    OrderWithoutSetCheck,
    OrderNeedNotBeAPermutation,
    NegativeBeatsPositive,
    NoNegativeGrace,
    ServfailBeforeTheLastAttempt,
    KeepsAttemptsAfterTheEnd,
    SetLivesAsLongAsItsLongestTtl,
    MismatchIsAccepted,
    TruncatedIsAnAnswer,
    NoCoalescing,
    NegativeIsNeverCorrected,
    VersionDoesNotGrow,
    SetVersionSticks,
    ForgetsAClient,
    FailureStartsNobody,
    RefreshesWhatIsFresh,
    FlushKeepsTheRound,
    ReloadKeepsTheRounds,
    ReloadKeepsWhatOthersSaid,
    DoubtIsForgotten,
    ForgeryIsOnlyCounted,
    ForgetsWhatAChangeCutOff,
    StaleIsServedAtOnce,
    RestoresOverWhatIsNewer,
    FlushKeepsWhatIsSaved,
    RestoredSetsOutliveTheirDoubt,
    UnreadableIsJunk,
    ClosedConnectionIsFinal,
    MixedDenialIsBelieved,
    ChasedLinksDoNotAge,
    RecordsKeepTheirOwnTtl,
    BoundsSpareTheChain,
    SoaOfAnotherZoneDenies,
    HeldAnswersAreNew,
    StrangersGoAlong,
    BareErrorIsBelieved,
    ErrorOverTcpOutweighsAnAnswer,
    NewcomerIsRefusedBeforeTheSlow,
    TheNewestGivesWay,
    SharedRoundIsBounded,
    TwoGiveWayForOne,
    LoneAddressesStandFirst,
    RefreshKeepsWhoSaidIt,
    ConfirmationChangesNothing,
    OrderForgetsWhoSaidIt,
    RestoreTrustsEverybody,
    AdditionsAreUncapped,
    ShortAnswersJoin,
    PrivateAddressesJoin,
    FailureWhileSendingIsLost,
}

impl Mutant {
    /// Every planted fault, for tests that try them all.
    pub const ALL: [Mutant; 55] = [
        Mutant::DuplicateReply,
        Mutant::LostFallback,
        Mutant::DeadlineOffByOne,
        Mutant::LateAnswerOfAnOldRoundIsMerged,
        Mutant::PublishesAfterSupersede,
        Mutant::OrderWithoutSetCheck,
        Mutant::OrderNeedNotBeAPermutation,
        Mutant::NegativeBeatsPositive,
        Mutant::NoNegativeGrace,
        Mutant::ServfailBeforeTheLastAttempt,
        Mutant::KeepsAttemptsAfterTheEnd,
        Mutant::SetLivesAsLongAsItsLongestTtl,
        Mutant::MismatchIsAccepted,
        Mutant::TruncatedIsAnAnswer,
        Mutant::NoCoalescing,
        Mutant::NegativeIsNeverCorrected,
        Mutant::VersionDoesNotGrow,
        Mutant::SetVersionSticks,
        Mutant::ForgetsAClient,
        Mutant::FailureStartsNobody,
        Mutant::RefreshesWhatIsFresh,
        Mutant::FlushKeepsTheRound,
        Mutant::ReloadKeepsTheRounds,
        Mutant::ReloadKeepsWhatOthersSaid,
        Mutant::DoubtIsForgotten,
        Mutant::ForgeryIsOnlyCounted,
        Mutant::ForgetsWhatAChangeCutOff,
        Mutant::StaleIsServedAtOnce,
        Mutant::RestoresOverWhatIsNewer,
        Mutant::FlushKeepsWhatIsSaved,
        Mutant::RestoredSetsOutliveTheirDoubt,
        Mutant::UnreadableIsJunk,
        Mutant::ClosedConnectionIsFinal,
        Mutant::MixedDenialIsBelieved,
        Mutant::ChasedLinksDoNotAge,
        Mutant::RecordsKeepTheirOwnTtl,
        Mutant::BoundsSpareTheChain,
        Mutant::SoaOfAnotherZoneDenies,
        Mutant::HeldAnswersAreNew,
        Mutant::StrangersGoAlong,
        Mutant::BareErrorIsBelieved,
        Mutant::ErrorOverTcpOutweighsAnAnswer,
        Mutant::NewcomerIsRefusedBeforeTheSlow,
        Mutant::TheNewestGivesWay,
        Mutant::SharedRoundIsBounded,
        Mutant::TwoGiveWayForOne,
        Mutant::LoneAddressesStandFirst,
        Mutant::RefreshKeepsWhoSaidIt,
        Mutant::ConfirmationChangesNothing,
        Mutant::OrderForgetsWhoSaidIt,
        Mutant::RestoreTrustsEverybody,
        Mutant::AdditionsAreUncapped,
        Mutant::ShortAnswersJoin,
        Mutant::PrivateAddressesJoin,
        Mutant::FailureWhileSendingIsLost,
    ];
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mutants {
    #[cfg(any(test, feature = "mutants"))]
    planted: Option<Mutant>,
}

impl Mutants {
    #[cfg(any(test, feature = "mutants"))]
    pub fn plant(&mut self, mutant: Mutant) {
        self.planted = Some(mutant);
    }

    #[cfg(any(test, feature = "mutants"))]
    pub fn has(self, mutant: Mutant) -> bool {
        self.planted == Some(mutant)
    }

    #[cfg(not(any(test, feature = "mutants")))]
    #[allow(clippy::unused_self)]
    pub const fn has(self, _: Mutant) -> bool {
        false
    }
}
