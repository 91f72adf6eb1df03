"""The words of `evidence_qa`, version 1. A change here changes the world: raise its VERSION.

In the templates {a} and {b} are who or what is spoken of, {v} and {w} values, {av} and {aw} the
values with their article, {o} the topic (an object, a category, what is counted), {os} its
plural, {m} a comparative, {q} a quantity ("at least two"). Every sentence stands alone: no
pronoun or connective points to another one.
"""

PEOPLE = (
  "Nora Omar Priya Hector Ingrid Kofi Mei Torben Aisha Bruno Clara Dmitri Elena Farid Greta Hugo"
  " Naomi Rafael Keiko Leo Marta Nadia Oscar Paula Quentin Rosa Samir Tessa Umar Vera Wendell"
  " Ximena Yusuf Zoe Anton Bella Conrad Delia Emil Fiona Gideon Hana Ivan Julia Karim Lydia Mateo"
  " Nina"
).split()

BUILDINGS = [
  f"the {name}"
  for name in (
    "library", "museum", "theatre", "town hall", "post office", "railway station", "hospital",
    "bakery", "cinema", "lighthouse", "fire station", "concert hall", "swimming pool", "school",
    "hotel", "bank", "pharmacy", "art gallery", "observatory", "courthouse",
  )
]  # fmt: skip

THINGS = [
  f"the {name}"
  for name in (
    "telescope", "ladder", "sewing machine", "toolbox", "printer", "globe", "record player",
    "chessboard", "fish tank", "rocking chair", "grandfather clock", "mirror", "typewriter",
    "vacuum cleaner", "wheelbarrow", "birdcage", "microscope", "radio", "bookcase", "easel",
    "cash box", "lawnmower", "trophy", "picnic basket",
  )
]  # fmt: skip

POOLS = {"people": PEOPLE, "buildings": BUILDINGS, "things": THINGS}

# Kind of value -> topic -> its values.
VALUES = {
  "colour": dict.fromkeys(
    ("kettle", "bicycle", "umbrella", "scarf", "suitcase", "desk lamp", "car", "raincoat",
     "front door", "teapot", "backpack", "notebook", "armchair", "canoe", "tent", "sofa",
     "letterbox", "guitar case"),
    ("red", "blue", "green", "yellow", "orange", "purple", "white", "black", "grey", "brown",
     "pink", "silver"),
  ),
  "favourite": {
    "drink": ("tea", "coffee", "cocoa", "lemonade", "apple juice", "milk", "ginger beer"),
    "sport": ("tennis", "football", "swimming", "rowing", "hockey", "cycling", "volleyball",
              "badminton", "judo", "archery"),
    "season": ("spring", "summer", "autumn", "winter"),
    "school subject": ("history", "physics", "music", "geography", "biology", "chemistry",
                       "mathematics", "drawing"),
    "instrument": ("the piano", "the violin", "the flute", "the cello", "the trumpet", "the harp",
                   "the guitar", "the accordion"),
    "fruit": ("mango", "pear", "melon", "pineapple", "grapefruit", "papaya", "plum"),
  },
  "job": {
    "job": ("baker", "nurse", "carpenter", "pilot", "teacher", "plumber", "dentist", "gardener",
            "librarian", "electrician", "journalist", "cook", "architect", "tailor", "farmer",
            "translator", "bus driver", "photographer", "watchmaker", "veterinarian"),
  },
  "city": {
    "city": ("Lisbon", "Oslo", "Kyoto", "Bologna", "Ghent", "Quito", "Halifax", "Tampere", "Bergen",
             "Seville", "Leeds", "Utrecht", "Graz", "Porto", "Cork", "Lyon", "Turin", "Aarhus",
             "Basel", "Nairobi", "Cusco", "Hobart", "Dublin", "Montreal"),
  },
  "room": {
    "room": ("attic", "cellar", "garage", "kitchen", "hallway", "study", "pantry", "garden shed",
             "living room", "guest room", "laundry room", "workshop"),
  },
}  # fmt: skip

VALUE_FACTS = {
  "colour": (
    "{a}'s {o} is {v}.",
    "The {o} that belongs to {a} is {v}.",
    "The only {o} {a} owns is {v}.",
    "The colour of {a}'s {o} is {v}.",
    "{a} has just one {o}, which is {v}.",
    "{a} owns a single {o}, and the {o} is {v}.",
  ),
  "favourite": (
    "{a}'s favourite {o} is {v}.",
    "The favourite {o} of {a} is {v}.",
    "{v} is {a}'s favourite {o}.",
    "Of all {os}, {a} likes {v} best.",
    "When asked about a favourite {o}, {a} always names {v}.",
    "{a} prefers {v} to every other {o}.",
  ),
  "job": (
    "{a} works as {av}.",
    "{a} earns a living as {av}.",
    "{a} is {av} by profession.",
    "{a} has a full-time job as {av}.",
    "The job that {a} does is that of {av}.",
  ),
  "city": (
    "{a} lives in {v}.",
    "{a}'s home is in {v}.",
    "The city where {a} lives is {v}.",
    "{v} is the city where {a} lives.",
    "{a} has been living in {v} for years.",
    "{a} is a resident of {v}.",
  ),
  "room": (
    "{a} is in the {v}.",
    "{a} is kept in the {v}.",
    "The place for {a} is the {v}.",
    "Anyone who needs {a} will find it in the {v}.",
    "The {v} is where {a} is kept.",
    "Somebody has put {a} in the {v}.",
  ),
}

VALUE_QUESTIONS = {
  "colour": (
    "Is {a}'s {o} {v}?",
    "Is the {o} that belongs to {a} {v}?",
    "Is {v} the colour of {a}'s {o}?",
    "Does {a} own {av} {o}?",
  ),
  "favourite": (
    "Is {v} {a}'s favourite {o}?",
    "Is {a}'s favourite {o} {v}?",
    "Does {a} like {v} best of all {os}?",
    "Is {v} the {o} that {a} likes best?",
  ),
  "job": (
    "Is {a} {av}?",
    "Does {a} work as {av}?",
    "Is {a} {av} by profession?",
    "Is {a}'s job that of {av}?",
  ),
  "city": (
    "Does {a} live in {v}?",
    "Is {a}'s home in {v}?",
    "Is {v} the city where {a} lives?",
    "Is {a} a resident of {v}?",
  ),
  "room": (
    "Is {a} in the {v}?",
    "Is {a} kept in the {v}?",
    "Is the {v} where {a} is kept?",
    "Would someone looking for {a} find it in the {v}?",
  ),
}

# How many people share a value: ({q} people) and (more people than for {w}).
TALLY_QUESTIONS = {
  "favourite": (
    ("Is {v} the favourite {o} of {q} people?", "Do {q} people like {v} best of all {os}?"),
    (
      "Is {v} the favourite {o} of more people than {w}?",
      "Do more people choose {v} than {w} as a favourite {o}?",
    ),
  ),
  "job": (
    ("Do {q} people work as {av}?", "Do {q} of the people mentioned work as {av}?"),
    (
      "Do more people work as {av} than as {aw}?",
      "Are there more people who work as {av} than people who work as {aw}?",
    ),
  ),
  "city": (
    ("Do {q} people live in {v}?", "Do {q} of the people mentioned live in {v}?"),
    (
      "Do more people live in {v} than in {w}?",
      "Are there more people who live in {v} than people who live in {w}?",
    ),
  ),
}

COMPARE_QUESTIONS = (
  "Is {a} {m} than {b}?",
  "Compared with {b}, is {a} {m}?",
  "Is it true that {a} is {m} than {b}?",
  "Of {a} and {b}, is {a} the {m} one?",
)
OPEN_QUESTIONS = (
  "Did {a} open {m} than {b}?",
  "Is it true that {a} opened {m} than {b}?",
  "Compared with {b}, did {a} open {m}?",
)
# Topic -> pool, from, to, (larger, smaller), questions, facts.
MEASURES = {
  "age": ("people", 18, 90, ("older", "younger"), COMPARE_QUESTIONS, (
    "{a} is {v} years old.",
    "{a}'s age is {v}.",
    "{a} has reached the age of {v}.",
    "The age of {a} is {v} years.",
    "{a} turned {v} this year.",
  )),
  "height": ("people", 148, 205, ("taller", "shorter"), COMPARE_QUESTIONS, (
    "{a} is {v} centimetres tall.",
    "{a}'s height is {v} centimetres.",
    "From head to toe, {a} measures {v} centimetres.",
    "The doctor wrote down a height of {v} centimetres for {a}.",
  )),
  "price": ("things", 12, 480, ("more expensive", "cheaper"), COMPARE_QUESTIONS, (
    "{a} costs {v} euros.",
    "The price of {a} is {v} euros.",
    "The shop sells {a} for {v} euros.",
    "Whoever wants {a} has to pay {v} euros.",
  )),
  "opening": ("buildings", 1840, 2015, ("later", "earlier"), OPEN_QUESTIONS, (
    "{a} opened in {v}.",
    "{a} first opened to the public in {v}.",
    "{a} has been open since {v}.",
    "The year when {a} opened was {v}.",
  )),
}  # fmt: skip

# Topic -> pool, (larger, smaller), (the same as plain adjectives).
RELATIONS = {
  "age": ("people", ("older", "younger"), ("old", "young")),
  "height": ("people", ("taller", "shorter"), ("tall", "short")),
  "speed": ("people", ("faster", "slower"), ("fast", "slow")),
  "strength": ("people", ("stronger", "weaker"), ("strong", "weak")),
  "building age": ("buildings", ("older", "newer"), ("old", "new")),
  "building size": ("buildings", ("larger", "smaller"), ("large", "small")),
  "weight": ("things", ("heavier", "lighter"), ("heavy", "light")),
  "value": ("things", ("more expensive", "cheaper"), ("expensive", "cheap")),
}
RELATION_FACTS = (
  "{a} is {m} than {b}.",
  "{a} is clearly {m} than {b}.",
  "Compared with {b}, {a} is {m}.",
  "Of {a} and {b}, {a} is the {m} one.",
  "Of {b} and {a}, {a} is the {m} one.",
  "{b} is not as {plain} as {a}.",
  "Everybody knows that {a} is {m} than {b}.",
)

COUNTED = (
  "stamps", "books", "seashells", "postcards", "coins", "marbles", "records", "puzzles", "mugs",
  "model trains", "comics", "fossils", "teaspoons", "maps", "badges", "buttons",
)  # fmt: skip
COUNT_FACTS = (
  "{a} has {v} {o}.",
  "{a} owns {v} {o}.",
  "{a} has collected {v} {o}.",
  "There are {v} {o} in {a}'s collection.",
  "The number of {o} that {a} owns is {v}.",
  "{a}'s collection holds {v} {o}.",
)
MORE_QUESTIONS = (
  "Does {a} have {m} {o} than {b}?",
  "Does {a} own {m} {o} than {b}?",
  "Are there {m} {o} in {a}'s collection than in {b}'s?",
  "Compared with {b}, does {a} have {m} {o}?",
)
THRESHOLD_QUESTIONS = (
  "Does {a} have {q} {o}?",
  "Does {a} own {q} {o}?",
  "Are there {q} {o} in {a}'s collection?",
  "Has {a} collected {q} {o}?",
)
