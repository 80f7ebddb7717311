"""`croissant.json`: a dataset described for machines, with the fields of responsible AI.

The form is Croissant 1.1 (https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html) with
its vocabulary RAI 1.0. Files are the shards with their sums. Records are the rows of a Parquet
view, where there is one: Croissant cannot say that several members of a tar are one sample.
"""

from collections.abc import Collection, Mapping
from typing import Any

from lorweb_bench.data.dataset_card import LIMITS, PAPER, SUITE_USE, TRAINING_USE, hub_licence
from lorweb_bench.data.manifest import Manifest, ShardEntry

CROISSANT = "croissant.json"
LICENCE_PAGE = "https://spdx.org/licenses/"
OWN_TERMS = (  # the rest of the vocabulary's official context
    *("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject"),
    *("fileSet", "format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField"),
    *("path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate"),
    *("separator", "source", "subField", "transform"),
)
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{name: f"cr:{name}" for name in OWN_TERMS},
}
CONFORMS_TO = (
    "http://mlcommons.org/croissant/1.1",
    "http://mlcommons.org/croissant/RAI/1.0",
)
MADE = (
    "Photographs, drawn scenes or pairs of pictures, cut to panels of one size; a_prime and "
    "b_prime are a and b after one transformation. The recipe in dataset.json repeats the build."
)
PEOPLE = (
    "Photographs may show people, as their photographers published them; no names or traits of "
    "people are recorded or used."
)
BIASES = (
    "Subjects, places and times are those of the photographs that the recipe names, and families "
    "of transformations those of its library; neither is a sample of what people edit."
)
IMPACT = (
    "Better editing by example also makes forgeries easier. The pictures hold no likeness that is "
    "not public, and the transformations are those of common image editors."
)
FIELD_TYPES = {
    "image": "sc:ImageObject",
    "string": "sc:Text",
    "int64": "sc:Integer",
    "bool": "sc:Boolean",
}


def croissant(manifest: Manifest, credits: Collection[tuple[str, str]] = ()) -> dict[str, Any]:
    """The description of a dataset by its shards.

    It depends on its arguments alone, so it has no date, and the paper's address as its own, until
    `published` gives it both.

    Args:
        manifest: What is described.
        credits: Pairs of a licence and an attribution.
    """
    shards = [entry for info in manifest.splits.values() for entry in info.shards]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": list(CONFORMS_TO),
        "name": f"{manifest.name}-{manifest.version}",
        "version": _version(manifest.version),
        "description": f"Visual analogies, a : a' :: b : b'. {MADE}",
        "license": _licences(credits),
        "url": PAPER,
        "creator": {"@type": "sc:Organization", "name": "whoever built it with lorweb-bench"},
        "citeAs": PAPER,
        "keywords": ["visual analogy", "image editing", manifest.view],
        **_rai(manifest),
        "distribution": [_shard(entry) for entry in shards],
    }


def published(content: dict[str, Any], address: str, date: str) -> dict[str, Any]:
    """A description that says where and when (ISO 8601) the dataset was published."""
    return {**content, "url": address, "datePublished": date}


def with_rows(content: dict[str, Any], pattern: str, columns: Mapping[str, str]) -> dict[str, Any]:
    """A description that has the rows of the Parquet view too.

    Args:
        content: The description by the shards.
        pattern: What the Parquet files' paths in the folder match.
        columns: The view's columns with their types.
    """
    rows = {
        "@type": "cr:FileSet",
        "@id": "rows",
        "encodingFormat": "application/x-parquet",
        "includes": pattern,
    }
    fields = [_field(name, kind) for name, kind in columns.items()]
    samples = {
        "@type": "cr:RecordSet",
        "@id": "samples",
        "key": {"@id": "samples/key"},
        "field": fields,
    }
    shards = [part for part in content["distribution"] if part["@id"] != "rows"]
    return {**content, "distribution": [*shards, rows], "recordSet": [samples]}


def _field(name: str, kind: str) -> dict[str, Any]:
    source: dict[str, Any] = {"fileSet": {"@id": "rows"}, "extract": {"column": name}}
    if kind == "image":  # a struct of the bytes and a file's name
        source["transform"] = {"jsonPath": "bytes"}
    return {
        "@type": "cr:Field",
        "@id": f"samples/{name}",
        "dataType": FIELD_TYPES[kind],
        "source": source,
    }


def _version(version: str) -> str:
    """A version in the three parts that Croissant asks for, where it is a number.

    >>> _version("2")
    '2.0.0'
    """
    parts = version.split(".")
    if all(part.isdecimal() for part in parts) and len(parts) <= 3:
        return ".".join([*parts, "0", "0"][:3])
    return version


def _licences(credits: Collection[tuple[str, str]]) -> list[str]:
    known = hub_licence(credits)
    if known == "other":
        return sorted({licence for licence, _ in credits if licence}) or ["none stated"]
    names = [known] if isinstance(known, str) else known
    return [f"{LICENCE_PAGE}{name.upper()}.html" for name in names]


def _rai(manifest: Manifest) -> dict[str, Any]:
    use = SUITE_USE.rpartition(" This line marks")[0] if manifest.canary else TRAINING_USE
    return {
        "rai:dataCollection": MADE,
        "rai:dataUseCases": use,
        "rai:dataLimitations": LIMITS,
        "rai:dataBiases": BIASES,
        "rai:dataSocialImpact": IMPACT,
        "rai:personalSensitiveInformation": PEOPLE,
        "rai:hasSyntheticData": True,
    }


def _shard(entry: ShardEntry) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": entry.path,
        "name": entry.path,
        "contentUrl": entry.path,
        "contentSize": f"{entry.bytes} B",
        "encodingFormat": "application/x-tar",
        "sha256": entry.sha256,
    }
