"""Every limit of the server, in one place; each is tested at n and n + 1.

A limit is a promise to the operator that one caller cannot make the server slow or large.
"""

from typing import Final

# -- decision requests ---------------------------------------------------------------------------
REQUEST_BYTES: Final = 64 * 1024
REQUEST_ID_CHARS: Final = 64
PLACEMENTS_PER_REQUEST: Final = 16
ADS_PER_PLACEMENT: Final = 40
SEGMENTS_PER_REQUEST: Final = 1000
KEYWORDS_PER_REQUEST: Final = 1000
VALUES_PER_LIST: Final = 1000
VALUE_CHARS: Final = 1024
URL_CHARS: Final = 8192
HOST_CHARS: Final = 253
"""A longer host is none (RFC 1035), and its parent domains cost the square of its length."""
PROPERTIES_PER_OBJECT: Final = 100
ORGANIC_PER_PAGE: Final = 200
RECEIPT_CHARS: Final = 16 * 1024
RECEIPTS_PER_VERIFICATION: Final = 10_000
FEED_HULL_POINTS: Final = 32
"""Corners kept of an account's ads (``feeds._hull``); with more, the window rule becomes stricter."""
HEADER_CHARS: Final = 512
"""Of a user agent or a language header, what is looked at."""
TMAX_MS: Final = 10_000
CHECKS_IN_VAIN: Final = 1000
"""Candidates of a request that expressions, circles or patterns may rule out one by one, shared evenly by its
placements; behind them, line items that would have to be asked do not serve."""
OUTSTANDING_PER_PERSON: Final = 1000
"""Ads a person may have reserved and not rendered: more is somebody emptying budgets, not reading."""
DECIDED_AGAIN: Final = 8
"""How often a decision is made where others kept changing what it was made from."""
STATE_UNTOLD: Final = 100_000
"""Events that wait for a shared state to hear of them; with more, all that is known is told to it anew."""
PEOPLE_KNOWN_ELSEWHERE: Final = 100_000
"""People of whom a process remembers that others know of them too."""
LOOKED_AT_AGAIN: Final = 100
"""Line items without budget or ahead of their plan tried again at a time: one request may ask them all."""
HOUR_WEIGHT_MAX: Final = 1000  # of a curve of 24 hours
PACED_MS: Final = 5000
"""A line item ahead of its plan is tried again after this, though its plan may not have caught up."""
PEOPLE_KEPT: Final = 10_000
"""People of whom it is kept which line items they have capped; of others it is found out again."""
REPEAT_WINDOW_MS: Final = 60_000
"""How long a request id is answered again with the same answer."""
VOUCHED_AGAIN_S: Final = 0.002
"""Between two questions to whoever decided something whether it was given."""

ASKED_BYTES: Final = 3900
"""Of what a request said, kept with its decision: with its pseudonyms a personal part of the journal."""
NAMES_LOOKED_AT: Final = 32
"""Names of a catalogue's expressions whose values are kept one by one; beyond, properties are kept whole."""
UNFILLED_JOURNALLED: Final = 100
"""One in so many of the decisions that promised nothing is journalled all the same, by its seed."""
HINTS_UNTOLD: Final = 4096
"""Changes of the ``live`` bits that the journal was not told; with more, all are looked at again."""
CHECKPOINT_DAYS: Final = 31
"""Days of the journal whose first checkpoint is kept, so that replay need not read from the beginning."""

EXPLAINED_LINE_ITEMS: Final = 100
EXPLAINED_BEST: Final = 25
"""That a request may name to be told why they serve or not; of a placement where none is named, the best."""
REHEARSED_ADS: Final = 10
"""Ads decided again for one explanation's counterfactuals: each rehearsal decides all the request's ads."""

SUPPLY_PER_HOUR: Final = 256
SUPPLY_LEAST: Final = 200
"""Decisions of each hour that tell what guaranteed line items may have; so many before any plan is made."""
ALLOTTED: Final = 10_000
"""Guaranteed line items of one plan."""
MULTIPLIERS: Final = 10_000
"""Line items of whose bids a part counts in the auction."""
SAMPLES_PER_HOUR: Final = 256
SAMPLED_DROPS: Final = 1000
"""Decisions kept of each hour for diagnosis (some hundred bytes each), and line items dropped in each."""
DIAGNOSIS_HOURS: Final = 48
DIAGNOSED: Final = 20_000
"""Line items asked about sampled placements for one diagnosis: beyond it the sample is thinned."""
DIAGNOSED_CHANGES: Final = 24
"""Sampled losses of a line item for which a change that would have won is looked for."""

CHANGE_HEARD_MS: Final = 2000  # in which a change of the catalogue is live in every process
WORKERS_MAX: Final = 64
PASSED_TOGETHER: Final = 64
PASSED_WAITING: Final = 10_000
PASSED_WAITS_S: Final = 5.0
FRAME_BYTES: Final = 4 * 2**20
"""Workers of a machine; of events that one brings to another, those in a frame, those that wait for one, and
how long."""
DOOR_SHAKE_S: Final = 2.0
DOOR_SHAKE_BYTES: Final = 80
DOOR_STRANGERS: Final = 64
DOOR_GUESTS: Final = 2048
"""Between machines: in which two make sure of each other, the longest frame meanwhile, connections of which
that is not known yet, and all of them: twice as many as there are numbers."""
MACHINE_BEAT_S: Final = 1.0
MACHINE_CLAIM_S: Final = 5.0
MACHINE_SETTLE_S: Final = 3.0
MACHINE_DOUBLE_S: Final = 60.0
"""Machines: how often each shows that it lives and hears of the others; how long one that starts waits for
its predecessor's session, and for others to hear of it; how long it serves on where another has its name."""
HEARD_AT_ONCE: Final = 2000
"""Line items of which a process hears, in one turn, what others delivered."""
LEASES_ASKED: Final = 1000
LEASES_LOOKED_AT: Final = 2000
"""In one turn: line items that one who shares asks leases for, and leases it looks at."""

# -- events --------------------------------------------------------------------------------------
EVENTS_PER_BATCH: Final = 100
EVENTS_PER_INVALIDATION: Final = 1000
REASON_CHARS: Final = 200
TEMPOS_KEPT: Final = 131_072
"""Users, addresses or placements in a table of how fast events come: some 15 MiB."""
SHOWN_KEPT: Final = 131_072
"""Ads shown a moment ago, by which it is told whether a click is too fast."""
MARKED_PER_HOUR: Final = 100_000
"""Counts of invalid traffic, by line item or placement and reason."""
FASTEST_CLICK_MS_MAX: Final = 10_000
CLOSING_WAITS: Final = 200
CLOSING_WAIT_S: Final = 0.05
"""How often, and how long at a time, a closing waits for being posted: 10 s."""
TOKENS_PER_RELEASE: Final = 1000
RELEASE_BYTES: Final = 128 * 1024
RECEIPTS_BYTES: Final = 4 * 1024 * 1024
"""Body of a receipt verification."""
AUCTION_BYTES: Final = 256 * 1024
"""Body of an OpenRTB bid request."""
BID_RENDER_MS: Final = 60_000
"""How long a bid holds what it reserved, unless the exchange says less."""
SIZES_PER_IMP: Final = 50
PIXELS_MAX: Final = 16_384
"""A side of an ad; anything longer is no size."""
DEALS_PER_IMP: Final = 100
ASSETS_PER_NATIVE: Final = 100
BID_FLOOR_MICROS_MAX: Final = 10**13
"""Ten million a thousand: nobody bids above."""
RENDER_WITHIN_MS_MAX: Final = 24 * 3600_000
RENDER_WITHIN_MS: Final = 15 * 60_000
RENDER_WITHIN_LONG_MS: Final = 30 * 60_000
"""Default for video and interstitial placements."""
VIEWABLE_EXTRA_MS: Final = 3600_000
CLICK_EXTRA_MS: Final = 24 * 3600_000
GRACE_MS: Final = 30_000
"""A hold outlives its token by this much: the bound on clock skew between servers."""
CLOCK_APART_MS: Final = GRACE_MS // 2
"""From the clock that several machines compare theirs with: so they differ from each other by no more."""

# -- reports ----------------------------------------------------------------------------------------
TALLIED_CELLS: Final = 100_000
"""Of requests, counted and not told to the journal yet; others are not counted until these are told."""
TALLIED_CELLS_A_RECORD: Final = 10_000
PEOPLE_DAYS: Final = 396
"""For how long the ledger knows who saw an impression, unless the settings say otherwise: 13 months."""
INSTANT_MS_MAX: Final = 253_370_764_800_000
"""The year 9999: behind its last day no time zone has a date."""
REPORT_DAYS: Final = 400
REPORT_DAYS_BY_HOUR: Final = 32
REPORT_ROWS: Final = 50_000
"""Of each span of a report so many and one are read, and of all of them so many are told."""
REPORT_S: Final = 60.0
REPORTS_AT_ONCE: Final = 2
MOVEMENTS_TOLD: Final = 100_000
"""Of one account, at a time."""

# -- conversions ---------------------------------------------------------------------------------
CONVERSIONS_PER_BATCH: Final = 1000
CONVERSION_ID_CHARS: Final = 128
CONVERSION_TYPE_CHARS: Final = 64
CLICK_WINDOW_MS: Final = 30 * 86_400_000
VIEW_WINDOW_MS: Final = 86_400_000
"""Defaults of a campaign's ``attribution``."""
CLICK_WINDOW_MS_MAX: Final = 90 * 86_400_000
VIEW_WINDOW_MS_MAX: Final = 30 * 86_400_000
CONVERSION_LATE_MS: Final = 7 * 86_400_000
"""How long after it happened a conversion may be told; clicks and views are kept that much longer."""
TOUCHES_KEPT: Final = 500_000
"""Of each of views, clicks and people who clicked; some 200 bytes each. Beyond it the oldest go first."""
TOUCHES_PER_PERSON: Final = 100
"""Clicks of a day, views of an hour; beyond it the older go first."""
USER_SPACES: Final = 100
"""That an e-mail without a user space is looked for in."""

# -- management ----------------------------------------------------------------------------------
MANAGEMENT_BYTES: Final = 16 * 1024 * 1024
DOCUMENT_DEPTH: Final = 32
LINE_ITEMS_PER_CAMPAIGN: Final = 10_000
CREATIVES_PER_LINE_ITEM: Final = 100
CAPS_PER_LINE_ITEM: Final = 8
TRACKERS_PER_CREATIVE: Final = 20
WEIGHT_MAX: Final = 1_000_000
LABELS_PER_OBJECT: Final = 100
PROBLEMS_PER_DOCUMENT: Final = 1000
RATES_DATES: Final = 100
"""Of the document of exchange rates, which every snapshot bears."""
RATES_AGE_DAYS_MAX: Final = 366
"""Of a document with more problems these many are named."""
PLACEMENTS_PER_PUBLISHER: Final = 10_000
FEED_RULE_MAX: Final = 10_000
"""The most items a rule of a feed policy may speak of."""
GOAL_MAX: Final = 10**12
VALUES_PER_CLAUSE: Final = 10_000
CIRCLES_PER_LINE_ITEM: Final = 100
"""Of each of any and none: every candidate asks them all."""
RADIUS_METRES_MAX: Final = 20_015_115
"""Half the way around the earth: all of it."""
PATTERNS_PER_CLAUSE: Final = 100
"""URLs with a ``*``: every candidate asks them all."""
VERSIONS_PER_CLAUSE: Final = 100
"""Ranges of versions, of each of any, all and none: every candidate asks them all."""
VERSION_PARTS: Final = 8
EXPRESSION_CHARS: Final = 4096
EXPRESSION_DEPTH: Final = 32
"""Brackets and ``not`` within each other."""
NUMBER_CHARS: Final = 18
REGEXES_PER_EXPRESSION: Final = 8
REGEX_CHARS: Final = 512
REGEX_PROGRAM: Final = 500
"""Steps of a compiled pattern; times the characters of a text, it is the most a match can cost."""
REGEX_TEXT_CHARS: Final = 2048
"""A longer text matches no pattern."""
REGEX_BYTES: Final = 128 * 1024
"""Memory of a compiled pattern, with the states it has met."""
NAMES_INDEXED: Final = 32
"""Names of expressions whose required values the index knows: each costs every request a look."""
CAP_LIMIT_MAX: Final = 255
CAP_PER_MS_MAX: Final = 90 * 86_400_000
FEE_DAYS: Final = 3660
"""Of a flight that a price is for."""
FEE_PARTS: Final = 1000
"""Placements that a day's fee is shared among."""
FEES_DONE_KEPT: Final = 8
"""Days of a line item known to be accrued: by so many may a clock be set back over a restart."""
FEE_HELD_MS: Final = 35 * 86_400_000
"""For so long a fee that is owed waits for being accrued: a server may be down for a month."""
AMOUNT_MICROS_MAX: Final = 10**15
"""A billion units of a currency: times 1000 (nanos) it still fits 64 bits with room for sums."""
SLUG_CHARS: Final = 64
TEXT_CHARS: Final = 4096
HTML_CHARS: Final = 64 * 1024
MEMBERS_PER_AUDIENCE: Final = 5_000_000

HISTORY_MS: Final = 30 * 86_400_000
"""How long what an object was is kept once it is superseded."""
NOTED_MS: Final = 3600_000
"""How often it is noted which revision it is: former versions are kept as much longer."""
FORGOTTEN_AT_ONCE: Final = 1000
"""Former versions removed at a time, while nobody else can change the catalogue."""
FORGOTTEN_BYTES: Final = 8 * 1024 * 1024
"""The same in bytes, the last one aside."""

# -- what is kept of the mapped snapshot ----------------------------------------------------------
ENTRIES_KEPT: Final = 32_768
"""Line items decoded: some 6 KiB each."""
VALUES_KEPT: Final = 65_536
"""Values of targeting looked up, those that nobody targets included."""
SELECTORS_KEPT: Final = 1024
"""Of each dimension: requests may say anything, memory may not follow them."""
CHUNKS_KEPT: Final = 262_144
"""Chunks of bits made of postings and masks, at most 580 bytes each; with more, the older ones go."""
VIEWS_KEPT: Final = 1024
"""Placements as requests see them: they may name any formats and sizes."""
FITTING_KEPT: Final = 8192
"""Line items whose creatives were filtered for a kind of placement."""
COUNTERS_KEPT: Final = 65_536
"""Counters whose caps were looked up."""
TEMPLATES_KEPT: Final = 16_384
"""Creatives encoded for answers: some 2 KiB each, html aside."""
OWNERS_KEPT: Final = 8192
"""Of each of campaigns, advertisers, publishers and audiences decoded."""

# -- connections ---------------------------------------------------------------------------------
HEAD_BYTES: Final = 64 * 1024
"""URL, headers (each with four bytes for colon, space and line end) and trailers together."""
TARGET_BYTES: Final = 16 * 1024
"""The URL as it was sent."""
FIRST_BYTE_MS: Final = 10_000
"""A new connection that says nothing is closed."""
HEAD_MS: Final = 5000
BODY_MS: Final = 10_000
BODY_BYTES_PER_S: Final = 64 * 1024
"""A body still coming after ``BODY_MS`` must have kept this pace on top of it."""
KEEP_ALIVE_MS: Final = 75_000
STALL_MS: Final = 30_000
"""A client that does not read its answers is dropped."""
GRACEFUL_S: Final = 10
POSTED_S: Final = 20
END_S: Final = 60
"""How long a server that is told to end waits for its answers to leave; for what is left to be posted; and in
which its process is gone, whatever is away. The parent of several has ``GRACEFUL_S`` more."""
LINGER_MS: Final = 2000
"""After an answer that ends a connection, what is still coming is read and thrown away for so long."""
ANSWERS_PER_TURN: Final = 32
"""Of one connection's pipelined requests, in one turn of the loop."""
JUDGED_IN_A_ROW: Final = 16
"""Decisions and events of all connections, before their answers are written."""
SYNC_WAIT_MS: Final = 1
"""How long a sync is put off at most, for others to share it."""
PIPELINED: Final = 64
"""Requests that wait on one connection before no more of what it sent is parsed."""
PARSED_AT_ONCE: Final = 16 * 1024
"""Bytes; between these pieces it is seen whether enough waits."""

# -- a database beside the server ------------------------------------------------------------------
DATABASE_CONNECTIONS: Final = 4
DATABASE_CONNECT_S: Final = 2
DATABASE_PATIENCE_S: Final = 10
DATABASE_PATIENCE_LONG_S: Final = 60
DATABASE_GRACE_S: Final = 2
"""Of a room of a process; for a statement; of who is beside the server; the client's, behind those."""
DATABASE_ASKED: Final = 64
DATABASE_REMEMBERED: Final = 10_000  # answers, and above events that wait for one at a time

# -- simulations ---------------------------------------------------------------------------------
SIMULATED_DAYS: Final = 366
SIMULATED_DECISIONS: Final = 10_000_000
"""Forecast for a day."""
SIMULATED_PEOPLE: Final = 5_000_000
SIMULATED_LINE_ITEMS: Final = 10_000
"""Of a generated catalogue, of each of guaranteed and auction."""
