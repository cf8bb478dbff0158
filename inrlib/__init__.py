"""The mathematics behind the notebooks: one idea of the paper, one module.

The paper is "A Structured Dictionary Perspective on Implicit Neural Representations" (Yüce,
Ortiz-Jiménez, Besbinar, Frossard, CVPR 2022). Data flows one way,

    signals → networks → fitting → spectra → plots → explorers,

and each module imports only from those before it. Nothing is imported here: `from inrlib import
networks` costs what `networks` costs, and computing needs neither matplotlib nor ipywidgets.
"""

__version__ = "0.1.0"
