"""The words of the synthetic corpus and their canonical pronunciations in ARPAbet, without stress.

Phones of the CMU Pronouncing Dictionary, in its manner of transcribing General American. Canonical means that they
don't follow the voice: British voices keep the same transcription, as usual in phoneme recognition.
"""

from __future__ import annotations

from functools import cache

_WORDS = """
a               AH
again           AH G EH N
and             AH N D
at              AE T
aunt            AE N T
ball            B AO L
basket          B AE S K AH T
bathroom        B AE TH R UW M
bed             B EH D
bedroom         B EH D R UW M
bench           B EH N CH
big             B IH G
black           B L AE K
blue            B L UW
book            B UH K
boss            B AO S
bottle          B AA T AH L
box             B AA K S
bring           B R IH NG
brother         B R AH DH ER
call            K AO L
can             K AE N
candle          K AE N D AH L
cellar          S EH L ER
chair           CH EH R
clean           K L IY N
close           K L OW Z
cocoa           K OW K OW
coffee          K AO F IY
cold            K OW L D
cup             K AH P
cupboard        K AH B ER D
curtain         K ER T AH N
dance           D AE N S
degrees         D IH G R IY Z
dirty           D ER T IY
doctor          D AA K T ER
door            D AO R
down            D AW N
drawer          D R AO R
eight           EY T
eleven          IH L EH V AH N
fan             F AE N
father          F AA DH ER
fifteen         F IH F T IY N
five            F AY V
for             F AO R
fork            F AO R K
forty           F AO R T IY
four            F AO R
friend          F R EH N D
from            F R AH M
garage          G ER AA ZH
garden          G AA R D AH N
gate            G EY T
glass           G L AE S
go              G OW
green           G R IY N
hall            HH AO L
hammer          HH AE M ER
hat             HH AE T
hear            HH IY R
heat            HH IY T
heater          HH IY T ER
heavy           HH EH V IY
honey           HH AH N IY
hot             HH AA T
hours           AW ER Z
i               AY
ice             AY S
in              IH N
is              IH Z
juice           JH UW S
key             K IY
kitchen         K IH CH AH N
knife           N AY F
lamp            L AE M P
later           L EY T ER
left            L EH F T
lemon           L EH M AH N
letter          L EH T ER
library         L AY B R EH R IY
light           L AY T
loud            L AW D
louder          L AW D ER
make            M EY K
march           M AA R CH
me              M IY
melody          M EH L AH D IY
milk            M IH L K
minutes         M IH N AH T S
mother          M AH DH ER
music           M Y UW Z IH K
my              M AY
need            N IY D
new             N UW
nine            N AY N
no              N OW
now             N AW
nursery         N ER S ER IY
of              AH V
off             AO F
office          AO F AH S
old             OW L D
on              AA N
open            OW P AH N
piano           P IY AE N OW
plate           P L EY T
play            P L EY
please          P L IY Z
printer         P R IH N T ER
pump            P AH M P
put             P UH T
quiet           K W AY AH T
quieter         K W AY AH T ER
radio           R EY D IY OW
red             R EH D
right           R AY T
round           R AW N D
sad             S AE D
screen          S K R IY N
set             S EH T
seven           S EH V AH N
shelf           SH EH L F
shirt           SH ER T
short           SH AO R T
sister          S IH S T ER
six             S IH K S
slow            S L OW
small           S M AO L
sofa            S OW F AH
song            S AO NG
soup            S UW P
spoon           S P UW N
stop            S T AA P
sugar           SH UH G ER
table           T EY B AH L
tea             T IY
teacher         T IY CH ER
television      T EH L AH V IH ZH AH N
ten             T EH N
the             DH AH
thirty          TH ER T IY
three           TH R IY
timer           T AY M ER
to              T UW
today           T AH D EY
tomorrow        T AH M AA R OW
tonight         T AH N AY T
too             T UW
towel           T AW AH L
turn            T ER N
twelve          T W EH L V
twenty          T W EH N T IY
two             T UW
uncle           AH NG K AH L
up              AH P
wait            W EY T
wake            W EY K
waltz           W AO L T S
want            W AA N T
warm            W AO R M
water           W AO T ER
white           W AY T
window          W IH N D OW
with            W IH DH
workshop        W ER K SH AA P
yellow          Y EH L OW
yes             Y EH S
you             Y UW
"""


@cache
def lexicon() -> dict[str, tuple[str, ...]]:
    """Every word of every language size, with its phones."""
    entries = (line.split() for line in _WORDS.strip().splitlines())
    return {word: tuple(phones) for word, *phones in entries}


def phonemes(text: str) -> str:
    """The phones of a text of known words, separated by blanks: `red cup` gives `R EH D K AH P`."""
    return " ".join(phone for word in text.split() for phone in lexicon()[word])
