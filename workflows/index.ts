export { finetune } from './finetune/finetune.js';
