//! The published vocabulary of `event_type`. Types of a client's own begin with `x-`.
use super::problem::excerpt;

/// What begins a client's own event types.
pub const CUSTOM_PREFIX: &str = "x-";

/// The type that must name its `content_id`.
pub const PLAY: &str = "play";

/// Every event type with what it says, sorted by name.
pub const EVENT_TYPES: &[(&str, &str)] = &[
    ("ad_break_end", "a break is over"),
    ("ad_break_start", "a break begins"),
    ("ad_click", "the viewer followed an ad"),
    ("ad_end", "an ad was played to its end"),
    ("ad_error", "an ad could not be played"),
    ("ad_progress", "an ad reached a quartile"),
    ("ad_skip", "the viewer skipped an ad"),
    ("ad_start", "an ad's first frame: an impression"),
    ("background", "the player's page or app went to the background or came back"),
    ("bitrate_change", "another rendition is played"),
    ("content_change", "another content in the same session"),
    ("custom", "an event that a player's own software defined"),
    ("ended", "the content was played to its end"),
    ("error", "something failed; error_fatal says whether playback ended by it"),
    ("fullscreen_change", "full screen was entered or left"),
    ("heartbeat", "still here; sent at an interval"),
    ("host_change", "another host or CDN serves the media"),
    ("mute", "the sound was turned off"),
    ("pause", "the viewer paused"),
    ("play", "the viewer asked for playback: an attempt; content_id is required"),
    ("player_collapse", "the player was made small"),
    ("player_expand", "the player was made large"),
    ("playing", "frames are moving: the first one, or again after a pause, a seek or a rebuffering"),
    ("rate_change", "another playback rate"),
    ("rebuffer_end", "the buffer is filled again"),
    ("rebuffer_start", "the buffer ran empty"),
    ("response", "a response of the network came, see the resp_ columns"),
    ("resume", "the viewer went on after a pause"),
    ("seek", "the viewer moves to another position"),
    ("seeked", "the other position is reached"),
    ("skip", "the viewer went on to other content"),
    ("state_change", "player_state is another one"),
    ("stop", "the viewer left before the end"),
    ("unmute", "the sound was turned on"),
];

/// True for a type of the vocabulary or a client's own.
pub fn is_event_type(event_type: &str) -> bool {
    match event_type.strip_prefix(CUSTOM_PREFIX) {
        Some(own) => !own.is_empty(),
        None => EVENT_TYPES.binary_search_by(|(name, _)| (*name).cmp(event_type)).is_ok(),
    }
}

pub(super) fn check(event_type: &str) -> Result<(), String> {
    if is_event_type(event_type) {
        return Ok(());
    }
    let got = excerpt(event_type);
    Err(format!("expected a type of the published vocabulary, or one of your own that begins with x-, got \"{got}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vocabulary_is_sorted_and_each_type_is_found() {
        assert!(EVENT_TYPES.is_sorted_by(|left, right| left.0 < right.0));
        assert!(EVENT_TYPES.iter().all(|(name, _)| is_event_type(name)));
    }

    #[test]
    fn own_types_have_a_name_after_the_prefix() {
        assert!(is_event_type("x-checkout"));
        for bad in ["x-", "", "Play", "play ", "checkout", "X-checkout"] {
            assert!(!is_event_type(bad), "{bad}");
        }
    }
}
