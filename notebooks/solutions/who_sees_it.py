answer = {
    "tell_customer names no parcel": "unit test",
    "book inserts without a look at what is there": "crash test",
    "weigh is called before book": "replay",
    "weigh is called after tell_customer": "none",
}
