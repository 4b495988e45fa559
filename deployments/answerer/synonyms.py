"""Words that mean the same, and words that exclude each other, as far as answers and questions use them.

Few and general, so that no two groups say different things in one place: a false synonym would let a changed fact pass.
"""

from collections.abc import Mapping

from deployments.answerer.words import stem

_SAME = """
film movie; film shoot; begin start commence; end finish conclude; big large; little small; found establish; create
make; author write; buy purchase acquire; build construct; locate situate; reside live; marry wed; wife husband
spouse; physician doctor; car automobile; street road; help assist aid; show display; obtain get; receive get; rise
grow increase; fall decrease decline; launch release; publish release; issue release; need require; choose select; get
receive; number amount; almost nearly; approximately about roughly; whole entire; near close; quick fast; firm
company; kid child; usa us america; uk britain; baptize christen; murder kill; win receive; manage run; direct
director; produce producer; compose composer; compose write; discover find found; sing singer; design designer; invent
inventor; teach teacher; own owner; lead leader; govern governor; perform performance; appear appearance; discover
discovery; destroy destruction; arrive arrival; depart departure; marry marriage; lose loss; sell sale; believe
belief; die death; grow growth; popular popularity; famous fame; song track; salary wage; job occupation; autumn fall;
holiday vacation; annual year; illness disease; reply answer respond; gather collect; repair fix; earth soil; child
son daughter; mother parent; father parent; home house; clothes clothing; talk speak; picture image photograph; depict
portray; cost price; pay cost; attack assault; war conflict; allow permit let; forbid prohibit ban; stop halt; change
alter; pick choose; assume take; join enter; sick ill; yearly annual; monthly month; weekly week; daily day; fix mend;
error mistake; goal aim purpose; method way; happen occur; occur take; state say; claim say; announce say; explain
say; report say; call name; term call; title name; dub call; nickname call; originate origin; weigh weight; measure
measurement; high height; consist comprise compose; contain include; feature include
"""

_OPPOSITE = """
rise fall; increase decrease; grow shrink; more less; most least; more fewer; first last; before after; north south;
east west; northern southern; eastern western; left right; up down; upper lower; high low; higher lower; highest
lowest; big small; large small; larger smaller; largest smallest; wide narrow; wider narrower; wider smaller; long
short; longer shorter; longest shortest; early late; earlier later; earliest latest; begin end; start end; open close;
old new; older younger; oldest youngest; old young; positive negative; positive mixed; good bad; better worse; best
worst; win lose; buy sell; allow forbid; permit forbid; allow ban; accept reject; approve reject; agree disagree;
support oppose; male female; man woman; men women; boy girl; husband wife; son daughter; mother father; brother
sister; king queen; day night; summer winter; spring autumn; hot cold; warm cold; warmer colder; warm cool; wet dry;
heavy light; strong weak; rich poor; easy difficult; simple complex; same different; like unlike; possible impossible;
public private; domestic foreign; internal external; import export; ally enemy; attack defend; victory defeat; alive
dead; arrive depart; enter leave; include exclude; minimum maximum; majority minority; all none; always never; always
rarely; often rarely; fast slow; faster slower; fastest slowest; single married; guilty innocent; true false; legal
illegal; praise criticize; praise criticise; urban rural; ancient modern; black white; pass fail; succeed fail;
success failure; above below; over under; add remove; connect disconnect; on off; inside outside; full empty; thick
thin; deep shallow; safe dangerous; common rare; profit loss; income expense; deposit withdrawal; morning evening;
morning afternoon; predecessor successor; monthly weekly; monthly yearly; weekly yearly; daily weekly; daily monthly;
annual monthly; optional mandatory; optional required; voluntary mandatory; free paid; wholesale retail; real
fictional; real imaginary; real fake; original copy; human animal; permanent temporary; direct indirect; regular
irregular; official unofficial; known unknown; likely unlikely; visible invisible; appear disappear; continue stop;
encourage discourage; lend borrow; teach learn; send receive; question answer; buyer seller; employer employee; tenant
landlord; january february march april june july august september october november december; monday tuesday wednesday
thursday friday saturday sunday; red blue green yellow orange purple brown black white
"""


def _groups(text: str) -> list[list[str]]:
    return [[stem(word) for word in group.split()] for group in text.replace("\n", " ").split(";")]


def _linked(groups: list[list[str]]) -> Mapping[str, frozenset[str]]:
    """Return for each word the others of its groups. Not transitive: "get" is in two groups that are not one."""
    linked: dict[str, set[str]] = {}
    for group in groups:
        for word in group:
            linked.setdefault(word, set()).update(other for other in group if other != word)
    return {word: frozenset(others) for word, others in linked.items()}


SYNONYMS = _linked(_groups(_SAME))
"""By stems."""

OPPOSITES = _linked(_groups(_OPPOSITE))
"""By stems. A word and its opposite may both be true of different things, so this only counts where the word itself is
missing."""

_MIN_PREFIX = 5
_MIN_PREFIX_PART = 0.75


def same_meaning(word: str, other: str) -> bool:
    """Return whether two stems are equal, synonyms, or forms of one word ("baptis" and "baptism")."""
    return word == other or other in SYNONYMS.get(word, ()) or _is_derived(word, other)


def _is_derived(word: str, other: str) -> bool:
    longer = max(len(word), len(other))
    length = 0
    while length < min(len(word), len(other)) and word[length] == other[length]:
        length += 1
    return length >= _MIN_PREFIX and length >= _MIN_PREFIX_PART * longer and not (word + other).isdigit()
