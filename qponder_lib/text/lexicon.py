"""The words by which English about image quality is read: one list for judge and case studies.

Lists, not a model: each entry can be read, disputed and tested. They cover the offline teacher's
wording, the judge's tags, and the words of the responses printed in the paper.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from qponder_lib.records import Severity


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{pattern})\b")


LOW_LEVEL: dict[str, re.Pattern[str]] = {
    "light": _words(
        r"brightness|exposures?|exposed|illuminat\w+|lighting|light|lit|"
        r"(?:over|under)-?expos\w+|too (?:dark|bright)"
    ),
    "contrast": _words(r"contrast\w*|tones?|tonal|tonality"),
    "sharpness": _words(r"sharp\w*|blur\w*|details?|focus\w*|defocus\w*|clarity|edges?|textures?"),
    "noise": _words(r"nois\w+|grain\w*|speckl\w+|surfaces?"),
    "color": _words(r"colou?r\w*|white balance|saturat\w+|hues?|tint\w*"),
    "range": _words(r"dynamic range|highlights?|shadows?"),
    "artifacts": _words(
        r"art[ei]facts?|compress\w+|block(?:ing|y|iness|s)|pixell?at\w+|banding|moir[eé]|"
        r"aberrations?|vignett\w+|distort\w+|jpeg|posteri[sz]\w+|halos?|ringing"
    ),
    "interference": _words(
        r"glare|flares?|clutter\w*|weather|interference|obstruct\w+|haz[ey]|fog\w*|reflections?"
    ),
}
"""The eight low-level attributes of Table 5 by short names, in its order: what names them."""

HIGH_LEVEL: dict[str, re.Pattern[str]] = {
    "subject": _words(r"subjects?"),
    "composition": _words(r"composition\w*|layout|framing|symmetr\w+|rule of thirds|leading lines"),
    "mood": _words(r"moods?|emotion\w*|story\w*|atmospher\w+|narrative"),
    "style": _words(r"style|styli[sz]\w+|artistic|creativ\w+|aesthetics?"),
    "background": _words(r"backgrounds?|environment\w*|surroundings?"),
    "context": _words(r"contexts?|adaptab\w+|suitab\w+|purposes?"),
}
"""The six high-level attributes likewise."""

GOOD = _words(
    r"even|balanced|good|well|sharp|crisp|clean|clear|natural|neutral|full|accurate|adequate|"
    r"sufficient|wide|preserv\w+|rich|excellent|fine|appropriate|acceptable|decent|pleasing|"
    r"harmonious|consistent|commendable|effective|defined|separated|realistic|satisfactory|"
    r"correct|keeps?"
)
"""Praise: with an attribute it states that nothing is wrong there."""

OTHER_ASSESSMENT = _words(
    r"poor\w*|bad|low|high|weak\w*|narrow|limited|lost|loss|lack\w*|compromised|degraded|unnatural|"
    r"uneven|flat|harsh|excessive|problematic|hard to|suffers?|affect\w+|obscur\w+|distract\w*|"
    r"hinder\w*|reduced|dull|washed|dark|bright|blur\w+|busy|missing|inconsistent|unbalanced|"
    r"off[- ]cent\w+|calm|quiet|plain|vivid|monochrome|simple|central\w*|cent\w+red|most|some|few|"
    r"disturbs?|intrusive|warm|cool|dramatic|modern|traditional|straightforward|tilted|no|not|"
    r"without|neither"
)
"""Other words that say something about an attribute instead of only mentioning it."""

SEVERITY_WORDS: dict[Severity, re.Pattern[str]] = {
    "extreme": _words(
        r"extremely(?: (?:strong|heavy|severe|noticeable|visible))?|extreme|very severe(?:ly)?|"
        r"massive(?:ly)?|overwhelming(?:ly)?"
    ),
    "severe": _words(
        r"severe(?:ly)?|heav(?:y|ily)|strong(?:ly)?|serious(?:ly)?|gravely|excessive(?:ly)?|"
        r"significant(?:ly)?|substantial(?:ly)?"
    ),
    "noticeable": _words(r"noticeabl[ey]|visibl[ey]|evident(?:ly)?|obvious(?:ly)?|pronounced"),
    "moderate": _words(r"moderate(?:ly)?|medium|some|somewhat|partial(?:ly)?|fairly"),
    "slight": _words(
        r"slight(?:ly)?|minor|minimal(?:ly)?|mild(?:ly)?|subtl[ey]|faint(?:ly)?|a (?:bit|little)"
    ),
}


class Defect(NamedTuple):
    """A distortion that can be named.

    Attributes:
        attribute: The low-level attribute it spoils.
        kind: Distortions of one kind are told apart by experts only; the word for the kind
            names each of them.
        pattern: What names it in a text.
    """

    attribute: str
    kind: str
    pattern: re.Pattern[str]


def _defect(attribute: str, kind: str, words: str) -> Defect:
    return Defect(attribute, kind, _words(words))


DEFECTS: dict[str, Defect] = {
    # Specific names stand before the words that they contain.
    "motion_blur": _defect("sharpness", "blur", r"motion[ -]?blur\w*|camera shake|smear\w*"),
    "lens_blur": _defect("sharpness", "blur", r"(?:lens|defocus)[ -]?blur\w*|defocus\w*"),
    "impulse_noise": _defect(
        "noise", "noise", r"impulse noise|salt[- ]and[- ]pepper(?: noise)?|speckl\w+"
    ),
    "oversharpening": _defect("sharpness", "oversharpening", r"over-?sharpen\w*|halos?|ringing"),
    "blur": _defect(
        "sharpness",
        "blur",
        r"blur\w*|out of focus|unsharp\w*|lacks? (?:of )?(?:sharpness|focus)|not very sharp",
    ),
    "jpeg": _defect(
        "artifacts",
        "jpeg",
        r"(?:jpeg |heavy )?compression (?:block\w+|art[ei]facts?|noise|distortions?)|jpeg\w*|"
        r"compression|block(?:ing|y|iness)(?: art[ei]facts?)?",
    ),
    "noise": _defect("noise", "noise", r"nois[ey]\w*|grain\w*"),
    "pixelation": _defect(
        "artifacts", "pixelation", r"pixell?at\w+|mosaic\w*|jagged\w*|low resolution"
    ),
    "low_contrast": _defect(
        "contrast",
        "low_contrast",
        r"loss of contrast|(?:low|poor|weak|reduced|lacks?|lacking|insufficient) contrast|"
        r"contrast (?:is|appears|seems) (?:\w+ )?(?:low|poor|weak|reduced|compromised)|"
        r"washed[- ]out",
    ),
    "overexposure": _defect(
        "light", "overexposure", r"over-?expos\w+|blown[- ]out|(?:too|overly) bright"
    ),
    "underexposure": _defect("light", "underexposure", r"under-?expos\w+|(?:too|overly) dark"),
    "color_cast": _defect(
        "color",
        "color_cast",
        r"colou?r (?:casts?|shifts?|distortions?)|(?:yellow|blue|green|red|magenta)(?:ish)? "
        r"(?:cast|tint)|tint(?:ed)?",
    ),
    "posterization": _defect("artifacts", "posterization", r"posteri[sz]\w+|banding"),
}

TAG_ALIASES = {
    "brightening": "overexposure",
    "darkening": "underexposure",
    "high_sharpening": "oversharpening",
    "quantization": "posterization",
    "color_quantization": "posterization",
    "quantization_noise": "posterization",
    "jpeg2000": "jpeg",
}
"""Names in the public sets that no word of a text would be."""

ANY_ARTIFACT = _words(r"art[ei]facts?|distortions?")
"""Names no distortion; denied, it denies all that leave traces of processing."""

NEGATION = re.compile(
    r"\b(?:no|not(?! only| just)|without|free (?:of|from)|(?:absence|lack) of|devoid of|neither|"
    r"nor|never|hardly any|none)\b|n't\b"
)
DENIED_AFTER = re.compile(
    r"\b(?:is|are|was|were) (?:absent|not (?:visible|present|noticeable|evident|apparent))\b"
)

REMEDIES: dict[str, re.Pattern[str]] = {
    "sharpness": _words(r"focus\w*|sharpen\w*|camera steady|tripod|steady"),
    "noise": _words(r"noise|denois\w+"),
    "artifacts": _words(r"compress less|less compression|full resolution|higher resolution"),
    "contrast": _words(r"contrast"),
    "light": _words(r"expose (?:less|longer|more)|exposure|brighten\w*|darken\w*"),
    "color": _words(r"white balance|colou?r\w*"),
}
"""What an order to improve is about, by low-level attribute."""

ADVICE = re.compile(
    r"\b(?:to improve|improvements?|recommend\w*|we suggest|suggestions?|advis\w+|consider(?:ing)?)"
    r"\b|\b(?:could|would|may|might|should) (?:\w+ )?(?:help|improve|enhance|refine|define|"
    r"optimi[sz]e|polish|reinforce|benefit|be reduced|be corrected)\b"
)
ORDER = re.compile(r"\bto improve\b|\b(?:should|must|needs? to) be\b")
"""Advice that presupposes a defect; a wish ("could further enhance") does not."""

IMPERATIVE = re.compile(
    r"\W*(?:improve|suggest\w*|apply\w*|reduc(?:e|ing)|adjust\w*|correct(?:ing)?|enhanc(?:e|ing)|"
    r"final suggestions?)\b"
)
"""Begins a clause that asks for something instead of stating it."""

HEDGE = re.compile(
    r"\b(?:might|may|could|possibl[ey]|perhaps|difficult to|hard to (?:tell|determine)|"
    r"would|should|seems?|if|or)\b"
)
"""Leaves open whether what its clause names is there."""

QUALITY_WORDS: dict[int, re.Pattern[str]] = {
    0: _words(r"very poor|extremely (?:poor|low)|very low|terrible|awful|bad|unusable"),
    4: _words(r"excellent|outstanding|very good|very high|superb|high"),
    3: _words(r"good|decent|fairly high"),
    2: _words(r"fair|acceptable|average|moderate|mediocre|medium"),
    1: _words(r"poor|low|significantly degraded|severely degraded"),
}
"""Words for the quality of the whole image, by severity bin of the MOS, 0 the lowest; the first
that is found counts."""
