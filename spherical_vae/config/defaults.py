"""The base configuration: every key there is, with its default; `configs/*.py` are short deltas.

The defaults are the main job: small inputless models on the King James verses. Their meaning stands
beside them; `rules.py` decides which values are allowed. `data/settings.py` has the keys of `data`.
"""

from ml_collections import ConfigDict

from spherical_vae.data.settings import default_settings


def base_config() -> ConfigDict:
    """Returns a fresh, unlocked copy of the default configuration.

    The default of a key that is added means what was done before there was that key: it is what a
    stored configuration without the key is completed by (`run_directory.load_config`).
    """
    config = ConfigDict()
    config.name = "kjv"
    # Governs initialisation, dropout and sampling; the order of batches depends on `data.seed`.
    config.seed = 0
    # Latent kinds trained beside this model at the same size, for the same steps, and tabulated.
    config.baselines = ("none", "gaussian")

    config.data = default_settings()

    config.embedding_size = 100  # word embeddings, shared by encoder, decoder and bag condition
    config.label_embedding_size = 0  # 0: labels are not used
    config.condition_on_bag = False  # NVRNN-BoW: the decoder sees the target's mean embedding
    config.dropout_rate = 0.1  # of embeddings, hidden layers and outputs
    config.dropout_mask = "step"  # step | sentence: whether a sentence has one mask for all steps
    config.state_dropout_rate = 0.0  # lstm decoder: of the recurrent state, one mask a sentence
    config.word_dropout_rate = 0.0  # lstm decoder: of the previous words, which become <unk>

    config.encoder = ConfigDict()
    config.encoder.kind = "lstm"  # lstm | bag_of_words
    config.encoder.hidden_size = 128
    config.encoder.layers = 1
    config.encoder.bidirectional = False  # lstm
    config.encoder.pooling = "mean_max"  # last | mean_max: how lstm states become one vector
    config.encoder.counts = "log"  # log | raw: the input of bag_of_words

    config.latent = ConfigDict()
    # none | gaussian | vmf | learned_vmf | product_vmf | power_spherical
    config.latent.kind = "vmf"
    config.latent.dimension = 8  # coordinates of z, over all spheres
    config.latent.spheres = 1  # product_vmf; divides `dimension`
    # product_vmf: learned_each | learned_shared | fixed
    config.latent.concentrations = "learned_each"
    config.latent.concentration = 30.0  # of every example; where learned ones start
    config.latent.min_concentration = 1.0  # of learned ones, above 0
    config.latent.max_concentration = 1000.0  # of learned ones
    config.latent.range = "smooth"  # of learned ones: smooth | clipped (no gradient at the ends)
    # learned_vmf: exact | kl_only (samples pass no gradient to it, as in the authors' code).
    config.latent.concentration_gradient = "exact"
    config.latent.sampler = "transport"  # transport | wood
    config.latent.unit_variance = True  # the decoder sees sqrt(d) z, whose prior variance is 1

    config.prior = ConfigDict()
    # standard (uniform, N(0, I)) | mixture (learned components) | vamp (learned pseudo-inputs)
    config.prior.kind = "standard"
    config.prior.components = 64  # mixture, vamp

    config.decoder = ConfigDict()
    config.decoder.kind = "lstm"  # lstm | bag_of_words
    config.decoder.inputless = True  # lstm: fed z only, no previous word
    config.decoder.hidden_size = 128
    config.decoder.layers = 1  # bag_of_words: hidden layers, 0 or 1
    config.decoder.tied_embeddings = False  # lstm: the softmax multiplies by the word embeddings
    config.decoder.skip = False  # bag_of_words: adds a linear map of z to the logits

    config.kl_weight = ConfigDict()
    config.kl_weight.schedule = "constant"  # constant | linear | sigmoid | cyclical
    config.kl_weight.value = 1.0  # the constant weight; the ceiling of the schedules
    # linear and sigmoid change between epochs, cyclical at every step.
    config.kl_weight.linear_epochs = 20.0  # linear: min(1, epoch / linear_epochs)
    config.kl_weight.sigmoid_slope = 0.5  # sigmoid(slope * epoch - shift)
    config.kl_weight.sigmoid_shift = 5.0
    config.kl_weight.cycles = 4  # cyclical: equal parts of training, each of which starts at 0
    config.kl_weight.rising_fraction = 0.5  # cyclical: of a cycle; the weight is constant after it

    # What becomes of the KL in the training loss; bounds that are measured never depend on it.
    config.rate = ConfigDict()
    config.rate.free_nats = 0.0  # the loss charges no less than so many; 0: off
    config.rate.free_nats_per = "example"  # example | factor (coordinate or sphere, batch mean)
    config.rate.target_nats = 0.0  # a learned multiplier holds the mean KL there; 0: off
    config.rate.target_step = 0.01  # of its logarithm, for a KL twice the target
    # Training begins with so many epochs in which the KL weighs nothing and no evaluation counts;
    # then the decoder is reset, and the schedule of the KL weight is counted from there.
    config.rate.autoencoder_epochs = 0

    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"  # sgd | adam | adamw
    config.optimizer.learning_rate = 5e-3
    config.optimizer.schedule = "cosine"  # constant | cosine | plateau
    config.optimizer.warmup_steps = 0
    config.optimizer.final_fraction = 0.05  # cosine: of the first, what it is when training ends
    config.optimizer.plateau_divisor = 1.2  # plateau: applied whenever validation does not improve
    config.optimizer.clip_norm = 5.0  # of the gradient's global norm; 0: off
    config.optimizer.weight_decay = 0.0  # adamw
    # Decay of a moving average of the weights, which is measured and kept in their place; 0: off.
    config.optimizer.average_decay = 0.0

    config.train = ConfigDict()
    config.train.batch_size = 64
    config.train.epochs = 1
    config.train.steps = 0  # 0: as many as `epochs` need; otherwise the exact number
    config.train.nats_per = "example"  # example | token: what the gradient is the mean over
    config.train.samples = 1  # samples of z per example in the training objective
    config.train.steps_per_call = 1  # consecutive steps of one padded length that share a call
    config.train.log_every = 20  # steps
    config.train.evaluate_every = 0  # steps; 0: at the end of each epoch
    config.train.checkpoint_every = 0  # steps; 0: at evaluations only
    config.train.early_stopping = 0  # evaluations in a row without improvement; 0: off
    config.train.protocol = "honest"  # honest | paper (mean of three samples, Guu's KL)

    # How a step is computed; no result depends on the last two but by rounding.
    config.compute = ConfigDict()
    config.compute.dtype = "float32"  # float32 | bfloat16: factors of the LSTM's large products
    config.compute.recompute_gates = False  # in an LSTM's backward pass: less memory, more products
    config.compute.logits_at_once = 2**26  # most logits of an LSTM decoder in memory at a time

    # How a step is laid out over the devices; no result depends on it but by rounding.
    config.mesh = ConfigDict()
    config.mesh.model = 1  # devices that share one copy of what is as large as the vocabulary

    config.evaluation = ConfigDict()
    config.evaluation.batch_size = 64
    config.evaluation.importance_samples = 100
    config.evaluation.chunk = 10  # importance samples decoded at once
    return config


def paper_nvrnn_config() -> ConfigDict:
    """Returns NVRNN in the paper's size with the settings of the authors' code.

    What the authors set for each corpus, the latent above all, is left to `configs/`.
    """
    config = base_config()
    config.baselines = ()
    config.data.name = "text"

    config.embedding_size = 100
    config.dropout_rate = 0.5
    config.encoder.hidden_size = 400
    config.encoder.pooling = "last"
    config.decoder.hidden_size = 400
    config.latent.sampler = "wood"
    config.latent.unit_variance = False

    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 10.0
    config.optimizer.schedule = "plateau"
    config.optimizer.plateau_divisor = 1.2
    config.optimizer.clip_norm = 0.25
    config.train.nats_per = "token"  # such a learning rate goes with a mean over tokens
    config.train.batch_size = 20
    config.train.epochs = 100
    config.train.early_stopping = 15
    return config


def nvdm_config() -> ConfigDict:
    """Returns NVDM in the paper's size with our training; corpus and latent are left to `configs/`.

    What was found on 20 Newsgroups: one bucket, no clipping, Adam with cosine decay.
    """
    config = base_config()
    config.baselines = ()
    # Batches of one length each, their gradients clipped, weigh short documents as much as long
    # ones: with four buckets validation perplexity came out about 4% higher.
    config.data.buckets = 1
    config.dropout_rate = 0.2
    config.encoder.kind = "bag_of_words"
    config.encoder.hidden_size = 400
    config.encoder.layers = 2
    config.decoder.kind = "bag_of_words"
    config.decoder.hidden_size = 400
    config.decoder.layers = 1
    config.optimizer.learning_rate = 1e-3
    config.optimizer.clip_norm = 0.0
    config.train.batch_size = 100
    config.train.epochs = 60
    return config
