//! Who watches: devices, apps, networks. Drawn once a viewer; rendered from a few dozen ready fragments.
use super::dice::weighted;
use crate::json::Object;
use rand::Rng;
use rand::rngs::SmallRng;

/// A system and its version.
type System = (&'static str, &'static str);
/// A provider and its number.
type Provider = (&'static str, i64);

/// Device families with their share: TV 40, mobile 35, web 20, console 5.
const DEVICES: [(&str, u32, &[System]); 4] = [
    ("tv", 40, &[("tizen", "7.0"), ("webos", "23"), ("tvos", "18.1"), ("androidtv", "14"), ("roku", "13.0")]),
    ("mobile", 35, &[("ios", "18.1"), ("ios", "17.6"), ("android", "15"), ("android", "14"), ("android", "13")]),
    ("web", 20, &[("windows", "11"), ("windows", "10"), ("macos", "15.1"), ("linux", "6")]),
    ("console", 5, &[("playstation", "5"), ("xbox", "10.0")]),
];
/// App versions with their share: a release that rolls out.
const APP_VERSIONS: [(&str, u32); 3] = [("8.14.2", 70), ("8.15.0", 25), ("8.9.1", 5)];
/// Player by device family.
const PLAYERS: [(&str, &str); 4] =
    [("shaka-player", "5.2.0"), ("exoplayer", "1.5.1"), ("hls.js", "1.7.0"), ("dash.js", "5.2.0")];
/// Country, region, share, and its two providers with their numbers.
const COUNTRIES: [(&str, &str, u32, [Provider; 2]); 8] = [
    ("US", "US-CA", 30, [("Comcast", 7922), ("Verizon", 701)]),
    ("DE", "DE-BE", 14, [("Deutsche Telekom", 3320), ("Vodafone", 3209)]),
    ("BR", "BR-SP", 13, [("Claro", 28573), ("Vivo", 27699)]),
    ("IN", "IN-MH", 13, [("Jio", 55836), ("Airtel", 24560)]),
    ("GB", "GB-LND", 10, [("BT", 2856), ("Sky", 5607)]),
    ("FR", "FR-IDF", 8, [("Orange", 3215), ("Free", 12322)]),
    ("JP", "JP-13", 7, [("NTT", 4713), ("KDDI", 2516)]),
    ("MX", "MX-CMX", 5, [("Telmex", 8151), ("Izzi", 28548)]),
];
const CDNS: [(&str, u32); 3] = [("edge-a", 55), ("edge-b", 30), ("edge-c", 15)];
/// Heartbeat periods with their share.
pub const HEARTBEATS_MS: [(u32, u32); 3] = [(10_000, 30), (30_000, 60), (60_000, 10)];

/// A viewer, in a few bytes: there may be a million.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Viewer {
    /// Stands in `viewer_id`.
    pub(crate) number: u32,
    pub(crate) heartbeat_ms: u32,
    device: u8,
    system: u8,
    app_version: u8,
    country: u8,
    provider: u8,
    cdn: u8,
}

impl Viewer {
    /// Draws one.
    pub(crate) fn draw(number: u32, dice: &mut SmallRng) -> Viewer {
        let device = weighted(dice, DEVICES.iter().map(|device| device.1));
        Viewer {
            number,
            heartbeat_ms: HEARTBEATS_MS[weighted(dice, HEARTBEATS_MS.iter().map(|heartbeat| heartbeat.1))].0,
            device: device as u8,
            system: dice.random_range(0..DEVICES[device].2.len()) as u8,
            app_version: weighted(dice, APP_VERSIONS.iter().map(|version| version.1)) as u8,
            country: weighted(dice, COUNTRIES.iter().map(|country| country.2)) as u8,
            provider: dice.random_range(0..2),
            cdn: weighted(dice, CDNS.iter().map(|cdn| cdn.1)) as u8,
        }
    }

    /// Whether its player writes times as RFC 3339: web players do, the others send epoch milliseconds.
    pub(crate) fn writes_dates(self) -> bool {
        DEVICES[usize::from(self.device)].0 == "web"
    }

    /// Whether its frames are small.
    pub(crate) fn is_mobile(self) -> bool {
        DEVICES[usize::from(self.device)].0 == "mobile"
    }
}

/// A viewer's columns, rendered once for each combination: an event copies two fragments.
#[derive(Debug)]
pub(crate) struct Fragments {
    devices: Vec<Vec<u8>>,
    networks: Vec<Vec<u8>>,
}

const SYSTEMS_MAX: usize = 5;

impl Fragments {
    pub(crate) fn new() -> Fragments {
        let mut devices = Vec::new();
        for device in 0..DEVICES.len() {
            for system in 0..SYSTEMS_MAX {
                for version in APP_VERSIONS {
                    devices.push(render_device(device, system, version.0));
                }
            }
        }
        let mut networks = Vec::new();
        for country in COUNTRIES {
            for provider in country.3 {
                for cdn in CDNS {
                    for mobile in [false, true] {
                        networks.push(render_network((country.0, country.1), provider, cdn.0, mobile));
                    }
                }
            }
        }
        Fragments { devices, networks }
    }

    /// Writes the columns of `viewer`.
    pub(crate) fn write(&self, viewer: Viewer, object: &mut Object<'_>) {
        let device = (usize::from(viewer.device) * SYSTEMS_MAX + usize::from(viewer.system)) * APP_VERSIONS.len();
        object.members(&self.devices[device + usize::from(viewer.app_version)]);
        let provider = usize::from(viewer.country) * 2 + usize::from(viewer.provider);
        let network = (provider * CDNS.len() + usize::from(viewer.cdn)) * 2 + usize::from(viewer.is_mobile());
        object.members(&self.networks[network]);
    }
}

/// The members that `write` writes, without the object's braces.
fn rendered(write: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut object = Object::open(&mut out);
    write(&mut object);
    object.close();
    out[1..out.len() - 1].to_vec()
}

fn render_device(device: usize, system: usize, app_version: &str) -> Vec<u8> {
    let Some((os, os_version)) = DEVICES[device].2.get(system) else { return Vec::new() };
    let (player_name, player_version) = PLAYERS[device];
    rendered(|object| {
        object.text("device_type", DEVICES[device].0);
        object.text("os", os);
        object.text("os_version", os_version);
        object.text("app", "cinema");
        object.text("app_version", app_version);
        object.text("player_name", player_name);
        object.text("player_version", player_version);
    })
}

fn render_network(country: (&str, &str), provider: Provider, cdn: &str, mobile: bool) -> Vec<u8> {
    rendered(|object| {
        object.text("connection_type", if mobile { "cellular" } else { "wifi" });
        object.text("isp", provider.0);
        object.text("country", country.0);
        object.text("region", country.1);
        object.int("asn", provider.1);
        object.text("cdn", cdn);
    })
}
