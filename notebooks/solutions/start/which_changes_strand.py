answer = {
    "a comment inside checkout_workflow": ...,
    "a comment above checkout_workflow": ...,
    "another result of look_up_customer": ...,
    "a step put in between": ...,
    "another workflow in the file": ...,
}
