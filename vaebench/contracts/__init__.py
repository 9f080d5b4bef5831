"""What the parts of vaebench promise each other: small Protocols and frozen records."""

from vaebench.contracts.capabilities import (
    Classifies as Classifies,
)
from vaebench.contracts.capabilities import (
    Completes as Completes,
)
from vaebench.contracts.capabilities import (
    EncodesContinuously as EncodesContinuously,
)
from vaebench.contracts.capabilities import (
    Generates as Generates,
)
from vaebench.contracts.capabilities import (
    GivesLatents as GivesLatents,
)
from vaebench.contracts.capabilities import (
    HasEncoder as HasEncoder,
)
from vaebench.contracts.capabilities import (
    HasLayers as HasLayers,
)
from vaebench.contracts.capabilities import (
    MasksLatents as MasksLatents,
)
from vaebench.contracts.capabilities import (
    Reconstructs as Reconstructs,
)
from vaebench.contracts.capabilities import (
    Samples as Samples,
)
from vaebench.contracts.capabilities import (
    Sampling as Sampling,
)
from vaebench.contracts.capabilities import (
    ScoresCandidates as ScoresCandidates,
)
from vaebench.contracts.capabilities import (
    Tokenizes as Tokenizes,
)
from vaebench.contracts.evaluation import (
    AnswerInputs as AnswerInputs,
)
from vaebench.contracts.evaluation import (
    DesignInputs as DesignInputs,
)
from vaebench.contracts.evaluation import (
    Measurement as Measurement,
)
from vaebench.contracts.evaluation import (
    Suite as Suite,
)
from vaebench.contracts.evaluation import (
    SuiteInputs as SuiteInputs,
)
from vaebench.contracts.evaluation import (
    SuiteResult as SuiteResult,
)
from vaebench.contracts.stages import (
    AnswerSource as AnswerSource,
)
from vaebench.contracts.stages import (
    Embedder as Embedder,
)
from vaebench.contracts.stages import (
    Executor as Executor,
)
from vaebench.contracts.stages import (
    FittedEmbedder as FittedEmbedder,
)
from vaebench.contracts.stages import (
    Job as Job,
)
from vaebench.contracts.stages import (
    Outcome as Outcome,
)
from vaebench.contracts.stages import (
    Work as Work,
)
from vaebench.contracts.training import (
    Averages as Averages,
)
from vaebench.contracts.training import (
    Batch as Batch,
)
from vaebench.contracts.training import (
    Exports as Exports,
)
from vaebench.contracts.training import (
    Finishes as Finishes,
)
from vaebench.contracts.training import (
    FitsInClosedForm as FitsInClosedForm,
)
from vaebench.contracts.training import (
    LooksAtData as LooksAtData,
)
from vaebench.contracts.training import (
    LossOutput as LossOutput,
)
from vaebench.contracts.training import (
    Model as Model,
)
from vaebench.contracts.training import (
    Perceives as Perceives,
)
from vaebench.contracts.training import (
    Phase as Phase,
)
from vaebench.contracts.training import (
    Starts as Starts,
)
from vaebench.contracts.training import (
    TrainingData as TrainingData,
)
from vaebench.contracts.training import (
    Validates as Validates,
)
from vaebench.contracts.training import (
    Watches as Watches,
)
