# says: book inserts without a look at what is there: you said 'unit test'
answer = {
    "tell_customer names no parcel": "unit test",
    "book inserts without a look at what is there": "unit test",
    "weigh is called before book": "replay",
    "weigh is called after tell_customer": "none",
}
