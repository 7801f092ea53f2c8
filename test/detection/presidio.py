"""What Microsoft Presidio finds in the corpus: presidio.py DIR [THRESHOLD]

Reads DIR/HALF.jsonl, as `go run ./test/detection -write DIR` writes them, and writes
DIR/HALF.found.jsonl for `go run ./test/detection -beside DIR`. It runs the pattern
recognisers of all languages on a blank spaCy pipeline: no language model, so no
PERSON; the words of a text stand for their lemmas, so that context counts. A string of
a document is looked at by itself, with its member's name as context. What Presidio
finds below the threshold is not counted.
"""

import inspect
import json
import os
import re
import sys

import presidio_analyzer.predefined_recognizers as predefined
import spacy
import tldextract
from presidio_analyzer import AnalyzerEngine, EntityRecognizer, RecognizerRegistry
from presidio_analyzer.nlp_engine import SpacyNlpEngine

IDS = {
    "EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "CREDIT_CARD": "payment-card", "IBAN_CODE": "iban",
    "IT_VAT_CODE": "eu-vat", "DE_VAT_ID": "eu-vat", "US_SSN": "us-ssn", "US_ITIN": "us-itin", "UK_NINO": "uk-nino", "UK_NHS": "uk-nhs",
    "ES_NIF": "es-dni", "ES_NIE": "es-nie", "IT_FISCAL_CODE": "it-codice-fiscale", "DE_TAX_ID": "de-steuer-id", "PL_PESEL": "pl-pesel",
    "SE_PERSONNUMMER": "se-personnummer", "FI_PERSONAL_IDENTITY_CODE": "fi-hetu", "IP_ADDRESS": "ip-address", "MAC_ADDRESS": "mac-address",
    "US_PASSPORT": "passport", "UK_PASSPORT": "passport", "ES_PASSPORT": "passport", "IT_PASSPORT": "passport", "DE_PASSPORT": "passport",
    "US_DRIVER_LICENSE": "driving-licence", "UK_DRIVING_LICENCE": "driving-licence", "IT_DRIVER_LICENSE": "driving-licence",
}
# The list of suffixes that the package brings, and none from elsewhere.
tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())

REGIONS = ["US", "GB", "DE", "FR", "ES", "IT", "NL", "BE", "PL", "PT", "SE", "FI", "DK", "NO"]


class Blank(SpacyNlpEngine):
    """A pipeline that knows words and nothing of them."""

    def __init__(self):
        super().__init__()
        self.nlp = {"en": spacy.blank("en")}

    def process_text(self, text, language):
        doc = self.nlp[language](text)
        for token in doc:
            token.lemma_ = token.lower_
        return self._doc_to_nlp_artifact(doc, language)


def analyzer():
    registry = RecognizerRegistry(supported_languages=["en"])
    registry.recognizers = []
    for name, cls in sorted(vars(predefined).items()):
        if not (inspect.isclass(cls) and issubclass(cls, EntityRecognizer)) or name == "PhoneRecognizer":
            continue
        try:
            one = cls(supported_language="en")
        except Exception:
            continue  # needs a model
        if set(one.supported_entities) & set(IDS) and len(one.supported_entities) == 1:
            registry.add_recognizer(one)
    registry.add_recognizer(predefined.PhoneRecognizer(supported_language="en", supported_regions=REGIONS))
    return AnalyzerEngine(registry=registry, nlp_engine=Blank(), supported_languages=["en"])


def strings(tree, pointer, key):
    """Every string with its pointer and the name it has, those of documents in strings too."""
    if isinstance(tree, dict):
        for k, v in tree.items():
            yield from strings(v, pointer + "/" + k.replace("~", "~0").replace("/", "~1"), k)
    elif isinstance(tree, list):
        for i, v in enumerate(tree):
            yield from strings(v, f"{pointer}/{i}", key)
    elif isinstance(tree, str):
        if tree[:1] in "{[":
            try:
                yield from strings(json.loads(tree), pointer, key)
                return
            except ValueError:
                pass
        yield pointer, key, tree


def words(key):
    return [w.lower() for w in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", key or "")]


def main():
    where, threshold = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 0.4
    engine = analyzer()
    for half in ("develop", "heldout"):
        with open(os.path.join(where, half + ".jsonl")) as lines, open(os.path.join(where, half + ".found.jsonl"), "w") as out:
            for line in lines:
                d = json.loads(line)
                found = []
                for pointer, key, text in strings(json.loads(d["text"]), "", "") if d.get("json") else [("", "", d["text"])]:
                    for f in engine.analyze(text, "en", context=words(key), score_threshold=threshold):
                        start, end = len(text[:f.start].encode()), len(text[:f.end].encode())
                        found.append({"detector": IDS[f.entity_type], "pointer": pointer, "start": start, "end": end})
                print(json.dumps(found), file=out)


main()
