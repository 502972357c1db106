answer = {
    "tell_customer names no parcel": ...,
    "book inserts without a look at what is there": ...,
    "weigh is called before book": ...,
    "weigh is called after tell_customer": ...,
}
